"""Decompositions of kernels, a file a method, and their sensitivity."""
