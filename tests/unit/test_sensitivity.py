"""Sensitivity against its definition, and the correction against its promises."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convpress.decompose.correction import balancing_gauge
from convpress.decompose.cp import cp_nls
from convpress.decompose.ridge import ridge_root
from convpress.decompose.sensitivity import (
    _CP,
    _Chain,
    _Tucker,
    correct_chain,
    correct_cp,
    correct_tucker,
    sensitivity_chain,
    sensitivity_cp,
    sensitivity_tucker,
)
from convpress.decompose.tensor_chain import chain_tensor
from convpress.decompose.tensors import cp_tensor, kernel_to_order3, relative_error
from convpress.decompose.tucker import tucker_tensor
from convpress.errors import ConvpressError
from made_tensors import normal
from mirror import mirrored


def tucker_sensitivity(blocks):
    return sensitivity_tucker(*blocks)


def tucker_rebuild(blocks):
    return tucker_tensor(*blocks)


CP = (sensitivity_cp, correct_cp, cp_tensor, _CP)
TUCKER = (tucker_sensitivity, correct_tucker, tucker_rebuild, _Tucker)
CHAIN = (sensitivity_chain, correct_chain, chain_tensor, _Chain)


def blocks_of(kind, shape, ranks, seed=0):
    """Random blocks for a tensor of `shape`; `ranks` has three numbers, CP takes the first."""
    a, b, c = ranks
    if kind is CP:
        sizes = [(size, a) for size in shape]
    elif kind is TUCKER:
        sizes = [(a, shape[1], b), (shape[0], a), (shape[2], b)]
    else:
        sizes = [(a, shape[0], b), (b, shape[1], c), (c, shape[2], a)]
    return [normal(*size, seed=seed + n) for n, size in enumerate(sizes)]


CASES = [(CP, (5, 4, 3)), (CP, (4, 5, 3, 2)), (TUCKER, (5, 4, 6)), (CHAIN, (5, 4, 6))]
each_case = pytest.mark.parametrize(("kind", "shape"), CASES, ids=["cp3", "cp4", "tucker", "chain"])


@each_case
def test_sensitivity_is_what_monte_carlo_measures(kind, shape):
    sensitivity, _, rebuild, _ = kind
    blocks = blocks_of(kind, shape, (3, 2, 2))
    exact, scale, samples = rebuild(blocks), 1e-5, 30_000
    noise = [normal(samples, *block.shape, seed=10 + n) for n, block in enumerate(blocks)]

    def change(deltas):
        return (rebuild([b + scale * d for b, d in zip(blocks, deltas, strict=True)]) - exact).square().sum()

    measured = float(torch.vmap(change)(noise).mean()) / scale**2
    assert measured == pytest.approx(float(sensitivity(blocks)), rel=0.01)


@each_case
def test_sensitivity_is_the_squared_norm_of_the_jacobian(kind, shape):
    sensitivity, _, rebuild, _ = kind
    blocks = tuple(blocks_of(kind, shape, (2, 3, 2)))
    jacobians = torch.autograd.functional.jacobian(lambda *b: rebuild(b), blocks)
    assert float(sensitivity(blocks)) == pytest.approx(sum(float(j.square().sum()) for j in jacobians), rel=1e-12)


@each_case
def test_gradients_meet_finite_differences(kind, shape):
    blocks = tuple(block.requires_grad_() for block in blocks_of(kind, shape, (2, 2, 3)))
    assert torch.autograd.gradcheck(lambda *b: kind[0](b), blocks)


@given(st.data())
@settings(max_examples=60)
def test_ridge_root_solves_its_equation(data):
    size = data.draw(st.integers(1, 6))
    exponents = st.floats(-12.0, 6.0)
    strength = 10.0 ** torch.tensor(data.draw(st.lists(exponents, min_size=size, max_size=size))).double()
    share = 10.0 ** torch.tensor(data.draw(st.lists(exponents, min_size=size, max_size=size))).double()
    fraction = data.draw(st.floats(1e-10, 0.999))
    budget = fraction * float(share.sum())
    mu = ridge_root(strength, share, budget)
    spent = float((share * (mu / (strength + mu)) ** 2).sum())
    assert mu > 0.0
    assert spent == pytest.approx(budget, rel=1e-9)
    assert spent <= budget * (1.0 + 1e-11)
    assert ridge_root(strength, share, 0.0) == ridge_root(strength, 0.0 * share, 1.0) == 0.0


@each_case
@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_block_step_is_the_constrained_optimum(kind, shape, n):
    """The bound is met exactly, and along the gradient of the error lies that of the sensitivity."""
    sensitivity, _, rebuild, family = kind
    X = normal(*shape, seed=5)
    problem, blocks = family(X), blocks_of(kind, shape, (2, 2, 2))
    norm2 = float(X.square().sum())
    free, _ = problem.block(blocks, n).within(norm2, 0.0)  # out of reach: least squares

    def with_block(solution):
        return [*blocks[:n], problem.shaped(solution, blocks, n), *blocks[n + 1 :]]

    lowest = float((X - rebuild(with_block(free))).square().sum())
    bound2 = lowest + 0.4 * (norm2 - lowest)
    solution, mu = problem.block(blocks, n).within(norm2, bound2)
    assert float((X - rebuild(with_block(solution))).square().sum()) == pytest.approx(bound2, rel=1e-10)
    torch.testing.assert_close(problem.block(blocks, n).solve(mu), solution)
    variable = with_block(solution)
    variable[n] = variable[n].clone().requires_grad_()
    (of_error,) = torch.autograd.grad((X - rebuild(variable)).square().sum(), variable[n])
    (of_sensitivity,) = torch.autograd.grad(sensitivity(variable), variable[n])
    torch.testing.assert_close(of_error, -mu * of_sensitivity)


def test_the_cp_step_is_the_formula_of_the_paper():
    X, (A, B, C) = normal(5, 4, 6, seed=3), blocks_of(CP, (5, 4, 6), (3, 0, 0))
    Z = torch.einsum("jr,kr->jkr", B, C).flatten(0, 1)
    W = torch.diag(4 * C.square().sum(0) + 6 * B.square().sum(0))
    root = torch.linalg.inv(W.sqrt())
    S, V = torch.linalg.eigh(root @ Z.T @ Z @ root)
    F = X.flatten(1) @ Z @ root
    b2, norm2 = (F @ V).square().sum(0), float(X.square().sum())
    solution, mu = _CP(X).block([A, B, C], 0).within(norm2, 0.95 * norm2)
    torch.testing.assert_close(solution, F @ V @ torch.diag(1 / (S + mu)) @ V.T @ root)
    residual = norm2 - 2 * (b2 / (S + mu)).sum() + (S * b2 / (S + mu) ** 2).sum()
    assert float(residual) == pytest.approx(0.95 * norm2)


@each_case
def test_balancing_keeps_the_tensor_and_no_rescaling_is_better(kind, shape):
    sensitivity, _, rebuild, family = kind
    blocks = blocks_of(kind, shape, (3, 2, 2))
    blocks[0] = blocks[0] * 100.0
    problem = family(normal(*shape))
    balanced = problem.balance(blocks)
    for _ in range(30):  # the bonds of a ring depend on each other
        balanced = problem.balance(balanced)
    torch.testing.assert_close(rebuild(balanced), rebuild(blocks))
    lowest = float(sensitivity(balanced))
    assert lowest < float(sensitivity(problem.balance(blocks))) * (1 + 1e-12)
    assert float(sensitivity(problem.balance(blocks))) < float(sensitivity(blocks))
    for seed in range(5):
        turn = torch.linalg.matrix_exp(0.01 * normal(3, 3, seed=seed))[:2, :2]
        turned = list(balanced)
        if kind is CP:
            scale = 1.0 + 0.1 * normal(3, seed=seed)
            turned[0], turned[1] = turned[0] * scale, turned[1] / scale
        elif kind is TUCKER:
            turned[2] = turned[2] @ turn
            turned[0] = turned[0] @ torch.linalg.inv(turn).T
        else:
            turned[1] = turned[1] @ turn
            turned[2] = torch.tensordot(torch.linalg.inv(turn), turned[2], dims=1)
        assert relative_error(rebuild(balanced), rebuild(turned)) < 1e-12
        assert float(sensitivity(turned)) >= lowest * (1 - 1e-12)


def test_the_gauge_is_the_identity_when_both_sides_are_equal():
    A = normal(4, 4)
    q, inverse = balancing_gauge(A @ A.T, A @ A.T)
    torch.testing.assert_close(q, torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(q @ inverse, torch.eye(4, dtype=torch.float64))


@given(
    kind=st.sampled_from([CP, TUCKER, CHAIN]),
    order=st.integers(3, 5),
    sizes=st.lists(st.integers(1, 5), min_size=5, max_size=5),
    ranks=st.tuples(*[st.integers(1, 4)] * 3),
    slack=st.sampled_from([0.0, 1e-6, 0.01, 0.02, 0.3, 5.0]),
    start=st.sampled_from(["random", "fitted", "scaled", "exact", "dead"]),
    magnitude=st.sampled_from([1e-6, 1.0, 1e5]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=80)
def test_never_more_sensitive_and_never_beyond_the_error(kind, order, sizes, ranks, slack, start, magnitude, seed):
    sensitivity, correct, rebuild, family = kind
    shape = tuple(sizes[: order if kind is CP else 3])
    X, blocks = magnitude * normal(*shape, seed=seed), blocks_of(kind, shape, ranks, seed)
    if start == "fitted":
        for _ in range(3):
            for n in range(len(blocks)):
                problem = family(X)
                solution = problem.block(blocks, n).solve(0.0)
                blocks[n] = problem.shaped(solution, blocks, n)
    elif start == "scaled":
        blocks[0], blocks[1] = blocks[0] * 1e4, blocks[1] * 1e-4
    elif start == "exact":
        X = rebuild(blocks)
    elif start == "dead":
        blocks[0] = torch.zeros_like(blocks[0])
    assume(all(bool(torch.isfinite(block).all()) for block in blocks))
    corrected = correct(X, blocks, slack, max_sweeps=8)
    assert [block.shape for block in corrected] == [block.shape for block in blocks]
    assert all(bool(torch.isfinite(block).all()) for block in corrected)
    assert float(sensitivity(corrected)) <= float(sensitivity(blocks))
    before, after = (float((X - rebuild(b)).norm()) for b in (blocks, corrected))
    assert after <= (1.0 + slack) * before + 1.1e-14 * float(X.norm())


@each_case
def test_it_ends_where_nothing_more_can_be_traded(kind, shape):
    """At the end the gradients of error and sensitivity point in opposite directions: a stationary point."""
    sensitivity, correct, rebuild, family = kind
    X, blocks = normal(*shape, seed=1), blocks_of(kind, shape, (2, 2, 2), seed=9)
    problem = family(X)
    for _ in range(200):
        for n in range(len(blocks)):
            blocks[n] = problem.shaped(problem.block(blocks, n).solve(1e-9), blocks, n)
    corrected = [b.requires_grad_() for b in correct(X, blocks, 0.05, max_sweeps=3000, tolerance=1e-13)]
    error = (X - rebuild(corrected)).square().sum()
    a = torch.cat([g.flatten() for g in torch.autograd.grad(error, corrected)])
    b = torch.cat([g.flatten() for g in torch.autograd.grad(sensitivity(corrected), corrected)])
    assert float(torch.dot(a, b) / (a.norm() * b.norm())) < -1.0 + 1e-4
    start_error = float((X - rebuild(blocks)).norm())
    assert float(error.detach().sqrt()) == pytest.approx(1.05 * start_error, rel=1e-9)


def test_two_nearly_cancelling_components_are_tamed_at_zero_slack():
    """A tensor of border rank 2 and rank 3: plain rank-2 factors grow without bound as the fit improves."""
    a, b = torch.linalg.qr(normal(6, 2))[0].T
    X = sum(torch.einsum("i,j,k->ijk", *v) for v in ((a, a, b), (a, b, a), (b, a, a)))
    X = X + 0.05 * normal(6, 6, 6, seed=1)
    huge = 1e3
    one = [torch.stack([huge ** (1 / 3) * (a + b / huge), -(huge ** (1 / 3)) * a], 1)] * 3
    before, after = sensitivity_cp(one), sensitivity_cp(correct_cp(X, one, 0.0))
    assert float(after) < 1e-3 * float(before)


@pytest.fixture(scope="module")
def resnet32():
    path = mirrored("checkpoints/resnet32-d509ac18.th")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return lambda layer: state[f"module.{layer}.weight"].double()


# By what the sensitivity has to fall at 2 % more error, and where it has to end over ||K||^2: what others reached.
@pytest.mark.parametrize(
    ("layer", "order", "rank", "iterations", "factor", "reached"),
    [
        ("layer3.2.conv1", 3, 64, 40, 10, 378),
        ("layer2.2.conv2", 4, 16, 200, 1000, 740),
        ("layer1.2.conv1", 4, 16, 200, 500, 198),
    ],
)
def test_fragile_factors_of_real_kernels_become_stable(resnet32, layer, order, rank, iterations, factor, reached):
    kernel = resnet32(layer) if order == 4 else kernel_to_order3(resnet32(layer))
    plain = cp_nls(kernel, rank, seed=0, max_iterations=iterations, tolerance=0.0).factors
    corrected = correct_cp(kernel, plain, 0.02)
    norm2, before, after = float(kernel.square().sum()), sensitivity_cp(plain), sensitivity_cp(corrected)
    assert float(before) > factor * float(after)
    assert float(after) < reached * norm2
    errors = [relative_error(kernel, cp_tensor(factors)) for factors in (plain, corrected)]
    assert errors[1] <= 1.02 * errors[0] * (1 + 1e-12)


GOOD = blocks_of(CP, (3, 4, 5), (2, 0, 0))
TENSOR = normal(3, 4, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correct_cp(TENSOR, GOOD, -0.1), "slack is -0.1; a number of at least 0"),
        (lambda: correct_cp(TENSOR, GOOD, float("nan")), "slack is nan"),
        (lambda: correct_cp(TENSOR, GOOD[:2]), r"correct_cp: factors of shapes .* do not fit .* \(3, 4, 5\)"),
        (lambda: correct_cp(TENSOR, []), "correct_cp: factors of shapes"),
        (lambda: correct_cp(TENSOR, [*GOOD[:2], GOOD[2][:, :1]]), "do not fit"),
        (lambda: correct_cp(TENSOR / 0.0, GOOD), "NaN or infinity"),
        (lambda: correct_tucker(TENSOR, GOOD), "correct_tucker: factors of shapes"),
        (lambda: correct_tucker(TENSOR, []), "correct_tucker: factors of shapes"),
        (lambda: correct_chain(TENSOR, GOOD), "correct_chain: factors of shapes"),
        (lambda: correct_chain(normal(2, 2), GOOD), "correct_chain: factors of shapes"),
    ],
)
def test_mistakes_get_one_clear_sentence(call, message):
    with pytest.raises(ConvpressError, match=message):
        call()


def test_exact_factors_of_unlike_sizes_are_balanced():
    blocks = blocks_of(CP, (8, 9, 10), (4, 0, 0))
    corrected = correct_cp(cp_tensor(blocks), [blocks[0] * 100, blocks[1], blocks[2] / 100], 0.0)
    assert float(sensitivity_cp(corrected)) < 1.5 * float(sensitivity_cp(blocks))
    assert relative_error(cp_tensor(blocks), cp_tensor(corrected)) < 1e-12
