"""Tensors for tests."""

import torch


def normal(*shape, seed=0):
    """Normal numbers in double precision."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
