"""What is on this host: the NVIDIA driver's files, nodes and GPUs, as an Inventory."""
