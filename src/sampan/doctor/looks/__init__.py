"""How each container engine is looked at: what it says of itself, and its configuration files."""
