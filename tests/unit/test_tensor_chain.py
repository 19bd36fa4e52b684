"""The ring of three cores: its algebra, and alternating least squares on it."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convpress.decompose import tensor_chain
from convpress.decompose.tensor_chain import (
    _alternate,
    _least_squares,
    chain_block,
    chain_core,
    chain_decompose,
    chain_tensor,
)
from convpress.decompose.tensors import relative_error
from convpress.errors import ConvpressError
from made_tensors import normal


def ring(shape, ranks, seed=0):
    return [normal(ranks[n], shape[n], ranks[(n + 1) % 3], seed=seed + n) for n in range(3)]


SIZES = st.tuples(*[st.integers(1, 4)] * 3)


@given(SIZES, SIZES, st.integers(0, 100))
@settings(max_examples=30)
def test_the_tensor_is_the_trace_of_the_core_slices(shape, ranks, seed):
    cores = ring(shape, ranks, seed)
    expected = torch.einsum("asb,bpc,cta->spt", *cores)
    torch.testing.assert_close(chain_tensor(cores), expected)


@given(SIZES, SIZES, st.integers(0, 2), st.integers(0, 100))
@settings(max_examples=40)
def test_block_systems_are_those_of_the_design_matrix(shape, ranks, n, seed):
    X, cores = normal(*shape, seed=seed + 50), ring(shape, ranks, seed)
    # The columns of Z are the tensors of the unit cores.
    r, _, r_next = cores[n].shape
    columns = []
    for index in range(r * r_next):
        unit = torch.zeros(r, 1, r_next, dtype=torch.float64)
        unit.view(-1)[index] = 1.0
        others = list(cores)
        others[n] = unit
        columns.append(chain_tensor(others).movedim(n, 0).flatten())
    Z = torch.stack(columns, 1)
    product, gram = chain_block(X, cores, n)
    torch.testing.assert_close(product, X.movedim(n, 0).flatten(1) @ Z)
    torch.testing.assert_close(gram, Z.T @ Z)
    assert torch.equal(chain_core(cores[n].movedim(1, 0).flatten(1), cores[n]), cores[n])


@pytest.mark.parametrize("ranks", [(2, 2, 2), (1, 3, 4), (3, 2, 1), (2, 3, 2)])
def test_it_finds_an_exact_ring(ranks):
    X = chain_tensor(ring((10, 9, 11), ranks))
    result = chain_decompose(X, ranks, starts=6, max_iterations=2000, tolerance=1e-14)
    assert result.relative_error < 1e-4
    assert result.relative_error == pytest.approx(relative_error(X, chain_tensor(result.factors)))


def test_an_open_chain_with_full_ranks_is_exact():
    X = normal(4, 9, 6)
    assert chain_decompose(X, (1, 4, 6)).relative_error < 1e-5
    assert [tuple(core.shape) for core in chain_decompose(X, (1, 4, 6)).factors] == [(1, 4, 4), (4, 9, 6), (6, 6, 1)]


def test_an_open_chain_is_close_to_the_bound_of_the_singular_values():
    X = normal(8, 9, 8)
    error2 = chain_decompose(X, (1, 4, 4)).relative_error ** 2
    tails = [torch.linalg.svdvals(X.movedim(n, 0).flatten(1))[4:].square().sum() for n in (0, 2)]
    lowest, highest = float(max(tails) / X.square().sum()), float(sum(tails) / X.square().sum())
    assert lowest <= error2 <= highest


def test_the_result_depends_on_the_seed_alone_and_more_starts_do_not_harm():
    X = normal(8, 9, 10)
    first, second = (chain_decompose(X, (2, 3, 3), starts=5, seed=3, max_iterations=50) for _ in range(2))
    for a, b in zip(first.factors, second.factors, strict=True):
        assert torch.equal(a, b)
    assert first.seed == 3
    few = chain_decompose(X, (2, 3, 3), starts=1, max_iterations=20)
    assert few.start == "svd0"
    many = chain_decompose(X, (2, 3, 3), starts=5, max_iterations=20)
    assert many.relative_error <= few.relative_error


def test_better_than_a_single_svd_sweep():
    X = normal(12, 9, 14)
    rough = chain_decompose(X, (2, 4, 4), starts=1, max_iterations=1).relative_error
    assert chain_decompose(X, (2, 4, 4)).relative_error < 0.98 * rough


def test_a_zero_tensor_is_no_problem():
    assert chain_decompose(torch.zeros(3, 4, 5), (1, 2, 2)).relative_error == 0.0


@pytest.mark.parametrize(
    ("tensor", "options", "message"),
    [
        (normal(3, 4, 5), {"ranks": (1, 4, 2)}, r"r1 can be at most 3 .* \(3, 4, 5\)"),
        (normal(3, 4, 5), {"ranks": (1, 2)}, "three integers"),
        (normal(3, 4, 5), {"ranks": 2}, "three integers"),
        (normal(3, 4, 5), {"ranks": (1, 2, 2), "starts": 0}, "at least 1"),
        (normal(3, 4), {"ranks": (1, 2, 2)}, "order 2; order 3"),
        (torch.full((3, 4, 5), torch.inf), {"ranks": (1, 2, 2)}, "infinity"),
    ],
)
def test_mistakes_get_one_clear_sentence(tensor, options, message):
    with pytest.raises(ConvpressError, match=message):
        chain_decompose(tensor, **options)


def test_the_best_start_goes_on_for_all_its_sweeps_and_never_gets_worse():
    X = normal(6, 9, 7)
    results = [chain_decompose(X, (2, 3, 3), max_iterations=n, tolerance=0.0) for n in (5, 10, 20, 30, 45, 60)]
    assert [result.iterations for result in results] == [5, 10, 20, 30, 45, 60]
    errors = [result.relative_error for result in results]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[-3]


def test_random_starts_are_those_of_the_seed():
    """Ranks that no SVD fills: every start holds noise, so another seed gives other factors."""
    X = normal(2, 3, 4)
    first, second = (chain_decompose(X, (2, 2, 2), seed=seed, max_iterations=3).factors for seed in (0, 1))
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_ridge_of_a_block_does_not_show(n):
    X, cores = normal(6, 9, 7), ring((6, 9, 7), (2, 3, 2))
    product, gram = chain_block(X, cores, n)
    torch.testing.assert_close(_least_squares(product, gram) @ gram, product, rtol=0, atol=1e-9 * float(product.norm()))


def test_cores_have_equal_norms():
    norms = [float(core.norm()) for core in chain_decompose(normal(6, 9, 7), (2, 3, 2), max_iterations=5).factors]
    assert norms == pytest.approx([norms[0]] * 3)


@pytest.mark.parametrize("seed", range(4))
def test_more_sweeps_give_back_no_worse_cores_where_single_sweeps_are_worse(seed):
    X, cores = normal(4, 3, 4, seed=seed), ring((4, 3, 4), (2, 2, 2), seed)
    errors = [_alternate(X, cores, sweeps, 0.0)[0] for sweeps in range(1, 60)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(errors))


def test_sweeps_are_extrapolated_and_anew_where_the_error_grew(monkeypatch):
    starts, ends, block, even = [], [], tensor_chain.chain_block, tensor_chain._even

    def watched(X, cores, n):
        if n == 0:
            starts.append(cores[1])
        return block(X, cores, n)

    monkeypatch.setattr(tensor_chain, "chain_block", watched)
    monkeypatch.setattr(tensor_chain, "_even", lambda cores: ends.append(even(cores)) or ends[-1])
    X = chain_tensor(ring((5, 5, 5), (2, 2, 2), 72))
    _alternate(X, ring((5, 5, 5), (2, 2, 2), 12), 60, 0.0)
    errors = torch.stack([(X - chain_tensor(cores)).square().sum() for cores in ends])
    changes = errors.diff() / X.square().sum()
    assert (changes > 1e-9).any()
    for sweep, change in enumerate(changes[:-1].tolist(), 1):
        if abs(change) > 1e-12:
            assert torch.equal(starts[sweep + 1], ends[sweep][1]) == (change > 0)
