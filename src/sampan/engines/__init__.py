"""What starts containers; one protocol, each engine imported when it is chosen."""
