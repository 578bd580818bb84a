"""Kernels for CUDA devices; imported only where one is used and Triton is installed."""
