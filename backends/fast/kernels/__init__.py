"""Loops over contiguous memory, compiled with numba."""
