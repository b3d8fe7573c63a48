"""The command table, one module a command, and the only place that prints. No logic."""
