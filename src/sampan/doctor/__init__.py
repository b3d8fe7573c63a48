"""What is wrong with this host, an image or an engine, and what to type against it."""
