"""Sampan runs container images on NVIDIA GPUs with the host's driver imported at run time."""

__version__ = "0.1.0"
