"""Generators run by torch: on NVIDIA GPUs, and on a CPU as the reference of all others."""
