"""Tucker-2: a stationary point of the best approximation, exact where it can be."""

import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.decomposition import partial_tucker

from convpress.decompose.tensors import relative_error, unfold
from convpress.decompose.tucker import tucker_decompose, tucker_tensor
from convpress.errors import ConvpressError
from made_tensors import normal


@given(st.tuples(*[st.integers(1, 7)] * 3), st.data(), st.integers(0, 100))
@settings(max_examples=40)
def test_bases_are_orthonormal_and_the_core_is_the_projection(shape, data, seed):
    ranks = data.draw(st.tuples(st.integers(1, shape[0]), st.integers(1, shape[2])))
    X = normal(*shape, seed=seed)
    result = tucker_decompose(X, ranks)
    core, u1, u3 = result.factors
    torch.testing.assert_close(u1.T @ u1, torch.eye(ranks[0], dtype=torch.float64))
    torch.testing.assert_close(u3.T @ u3, torch.eye(ranks[1], dtype=torch.float64))
    torch.testing.assert_close(core, torch.einsum("sa,spt,tb->apb", u1, X, u3))
    assert result.relative_error == pytest.approx(relative_error(X, tucker_tensor(core, u1, u3)), abs=1e-12)
    explained = float(core.square().sum() / X.square().sum())
    assert result.relative_error**2 == pytest.approx(1.0 - explained, abs=1e-12)


def test_it_finds_an_exact_decomposition():
    X = tucker_tensor(normal(3, 9, 4), normal(10, 3, seed=1), normal(12, 4, seed=2))
    assert tucker_decompose(X, (3, 4)).relative_error < 1e-12
    assert tucker_decompose(X.float(), (3, 4)).relative_error < 1e-6
    assert tucker_decompose(X, (10, 12)).relative_error < 1e-12


def test_iterating_beats_the_truncated_svd_and_meets_tensorly():
    X = normal(12, 9, 10)
    result = tucker_decompose(X, (4, 3))
    u1 = torch.linalg.svd(unfold(X, 0)).U[:, :4]
    u3 = torch.linalg.svd(unfold(X, 2)).U[:, :3]
    hosvd = relative_error(X, tucker_tensor(torch.einsum("sa,spt,tb->apb", u1, X, u3), u1, u3))
    assert result.relative_error < hosvd
    with tensorly.backend_context("numpy"):
        (core, factors), _ = partial_tucker(X.numpy(), rank=[4, 3], modes=[0, 2], n_iter_max=500, tol=1e-12)
        theirs = tensorly.tenalg.multi_mode_dot(core, factors, modes=[0, 2])
    assert result.relative_error <= relative_error(X, torch.from_numpy(theirs)) + 1e-6


def test_no_small_turn_of_the_bases_is_better():
    X = normal(6, 4, 7)
    core, u1, u3 = tucker_decompose(X, (2, 3), max_iterations=2000, tolerance=1e-15).factors
    u1, u3 = u1.clone().requires_grad_(), u3.clone().requires_grad_()
    q1, q3 = torch.linalg.qr(u1)[0], torch.linalg.qr(u3)[0]
    torch.einsum("sa,spt,tb->apb", q1, X, q3).square().sum().backward()
    assert float(u1.grad.norm() + u3.grad.norm()) < 1e-4 * float(core.square().sum())


def test_errors_fall_with_the_ranks_and_a_zero_tensor_is_no_problem():
    X = normal(8, 9, 8)
    errors = [tucker_decompose(X, (rank, rank)).relative_error for rank in (2, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True)
    assert tucker_decompose(torch.zeros(3, 4, 5), (2, 2)).relative_error == 0.0


@pytest.mark.parametrize(
    ("tensor", "ranks", "message"),
    [
        (normal(3, 4, 5), (4, 2), "the first from 1 to 3, the second from 1 to 5"),
        (normal(3, 4, 5), (2, 2, 2), "two integers"),
        (normal(3, 4, 5), (2, True), "two integers"),
        (normal(3, 4), (2, 2), "order 2; order 3"),
        (torch.full((3, 4, 5), torch.nan), (2, 2), "NaN"),
    ],
)
def test_mistakes_get_one_clear_sentence(tensor, ranks, message):
    with pytest.raises(ConvpressError, match=message):
        tucker_decompose(tensor, ranks)


def test_no_more_sweeps_than_asked():
    results = [tucker_decompose(normal(6, 4, 7), (2, 3), max_iterations=n, tolerance=0.0) for n in (1, 2, 5)]
    assert [result.iterations for result in results] == [1, 2, 5]
