"""The small things that the decompositions share follow their definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convpress.decompose.tensors import (
    as_float64,
    cp_tensor,
    kernel_to_order3,
    leading_vectors,
    mttkrp,
    relative_error,
    unfold,
)
from convpress.errors import ConvpressError
from made_tensors import normal


@given(st.tuples(*[st.integers(1, 5)] * 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=20)
def test_mttkrp_and_rebuild_follow_their_definitions(shape, rank, mode, seed):
    X = normal(*shape, seed=seed)
    factors = [normal(size, rank, seed=seed + n) for n, size in enumerate(shape)]
    torch.testing.assert_close(cp_tensor(factors), torch.einsum("ar,br,cr,dr->abcd", *factors))
    others = [factor for n, factor in enumerate(factors) if n != mode]
    expected = torch.einsum("zabc,ar,br,cr->zr", X.movedim(mode, 0), *others)
    torch.testing.assert_close(mttkrp(X, factors, mode), expected)


def test_shapes_and_errors():
    X = normal(3, 4, 5)
    assert torch.equal(unfold(X, 1)[2], X[:, 2, :].flatten())
    kernel = normal(6, 5, 2, 3)
    assert kernel_to_order3(kernel)[4, 1 * 3 + 2, 5] == kernel[5, 4, 1, 2]
    assert relative_error(X, X) == relative_error(0 * X, 0 * X) == 0.0
    assert relative_error(X, 1.5 * X) == pytest.approx(0.5)
    assert relative_error(0 * X, X) == math.inf
    basis, expected = leading_vectors(unfold(X, 0), 2), torch.linalg.svd(unfold(X, 0)).U[:, :2]
    torch.testing.assert_close(basis @ basis.T, expected @ expected.T)
    assert as_float64(X.half()).dtype == torch.float64
    with pytest.raises(ConvpressError, match="NaN or infinity"):
        as_float64(X / 0.0)
