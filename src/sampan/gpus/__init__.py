"""What is wanted: the --gpus grammar, the NVIDIA_* variables and requirements, as a Request."""
