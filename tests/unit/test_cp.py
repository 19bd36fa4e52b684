"""CP by nonlinear least squares: the algebra of a step, what a descent promises, Tensorlab's errors."""

import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from convpress.decompose import cp_descent
from convpress.decompose.cp import cp_decompose, cp_nls, cp_reconstruct, hosvd_start, random_start
from convpress.errors import ConvpressError
from mirror import mirrored

SHAPES = [(6, 5, 4), (3, 7, 4), (6, 5, 3, 3), (4, 1, 3, 2), (5, 4)]

# Relative errors of Tensorlab's cpd_nls, order 4, rank = channels / 2, as printed: four digits.
REFERENCE = Path(__file__).resolve().parents[2] / "report" / "reference" / "tensorlab_cp_error.csv"
TENSORLAB = pd.read_csv(REFERENCE, index_col="layer")["relative_error"].to_dict()
MOST_SECONDS = 10


def noisy(shape, rank, seed, noise=0.3):
    torch.manual_seed(seed)
    tensor = cp_reconstruct(random_start(shape, rank, seed))
    return tensor + noise * tensor.norm() * torch.randn(shape, dtype=torch.float64) / tensor.numel() ** 0.5


def packed(shape, rank, starts=2):
    """A problem and the factors of some random starts, in the solver's own layout."""
    problem = cp_descent.Problem(noisy(shape, rank, 3).numpy(), rank)
    return problem, problem.pack([[f.numpy() for f in random_start(shape, rank, s)] for s in range(starts)])


def residual_vector(problem, U):
    """X - X_hat of one start as a function that autograd can follow, U (N, I, R)."""
    factors = [U[n, :size] for n, size in enumerate(problem.shape)]
    return (torch.from_numpy(problem.unfolding).reshape(problem.shape) - cp_reconstruct(factors)).reshape(-1)


def jacobian(problem, U):
    """Explicit Jacobian of the residual, (numel, N * I * R)."""
    J = torch.autograd.functional.jacobian(lambda u: residual_vector(problem, u), torch.from_numpy(U))
    return J.flatten(1).numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_that_of_half_the_squared_residual(shape):
    problem, U = packed(shape, 3)
    gradient = problem.gradient(U, problem.residual(U))
    for start in range(2):
        u = torch.from_numpy(U[start]).requires_grad_()
        (0.5 * residual_vector(problem, u).square().sum()).backward()
        np.testing.assert_allclose(gradient[start], u.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_structured_product_equals_the_explicit_one(shape):
    problem, U = packed(shape, 3)
    x = np.random.default_rng(0).standard_normal(U.shape)
    for n, size in enumerate(problem.shape):
        x[:, n, size:] = 0
    product = cp_descent.jtj(x, U, *cp_descent.grams(U))
    for start in range(2):
        J = jacobian(problem, U[start])
        expected = (J.T @ (J @ x[start].ravel())).reshape(x[start].shape)
        np.testing.assert_allclose(product[start], expected, atol=1e-11)


@pytest.mark.parametrize("direct", [True, False], ids=["cholesky", "conjugate_gradients"])
@pytest.mark.parametrize("shape", SHAPES)
def test_step_solves_the_damped_normal_equations(monkeypatch, shape, direct):
    monkeypatch.setattr(cp_descent, "_DIRECT", 10**6 if direct else 0)
    monkeypatch.setattr(cp_descent, "_CG_STEPS", 500)
    monkeypatch.setattr(cp_descent, "_CG_RESIDUAL", 1e-12)
    problem, U = packed(shape, 3)
    gradient, damping = problem.gradient(U, problem.residual(U)), np.array([0.1, 0.01])
    x = cp_descent.step(U, *cp_descent.grams(U), gradient, damping, problem.shape)
    for start in range(2):
        J = jacobian(problem, U[start])
        system = J.T @ J + damping[start] * np.eye(J.shape[1])
        expected = np.linalg.solve(system, -gradient[start].ravel())
        np.testing.assert_allclose(x[start].ravel(), expected, atol=1e-8)


@pytest.mark.parametrize(
    ("shape", "rank"), [((7, 6, 5), 4), ((12, 10, 9), 6), ((8, 7, 3, 3), 5), ((20, 18, 3, 3), 8), ((16, 8, 1, 1), 6)]
)
def test_recovers_a_low_rank_tensor_exactly(shape, rank):
    tensor = cp_reconstruct(random_start(shape, rank, 11))
    result = cp_decompose(tensor, rank, starts=4, scouts=1)
    assert result.relative_error < 1e-8
    torch.testing.assert_close(cp_reconstruct(result.factors), tensor, rtol=0, atol=1e-8 * float(tensor.norm()))


def test_recovers_the_factors_themselves_up_to_order_and_scale():
    # Kruskal's condition holds: the decomposition is unique.
    truth = random_start((7, 6, 5), 3, 5)
    found = cp_decompose(cp_reconstruct(truth), 3, starts=4, scouts=1).factors
    for a, b in zip(truth, found, strict=True):
        cosines = (a / a.norm(dim=0)).T @ (b / b.norm(dim=0))
        torch.testing.assert_close(cosines.abs().amax(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-7)


def test_reported_error_is_the_error_of_the_factors():
    tensor = noisy((8, 6, 3, 3), 4, 1)
    result = cp_decompose(tensor, 3, starts=2, scouts=1)
    error = float((tensor - cp_reconstruct(result.factors)).norm() / tensor.norm())
    assert result.relative_error == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES[:4])  # at order two the warm-up ends at the optimum
def test_short_steps_gain_what_the_model_predicts(shape):
    problem, U = packed(shape, 2)
    descent = cp_descent.Descent(problem, U)
    misses = []
    for stiffness in (1e1, 1e2, 1e3):
        parts = (descent.U, descent.blocks, descent.cross)
        x = cp_descent.step(*parts, descent.gradient, stiffness * descent.damping, problem.shape)
        curvature = (x * cp_descent.jtj(x, *parts)).sum((1, 2, 3))
        predicted = -(descent.gradient * x).sum((1, 2, 3)) - 0.5 * curvature
        residual = problem.residual(descent.U + x)
        gained = descent.cost - 0.5 * (residual**2).reshape(len(U), -1).sum(1)
        assert (predicted > 0).all()
        misses.append(np.abs(gained / predicted - 1).max())
    assert misses[0] > misses[-1]
    assert misses[-1] < 1e-2


def test_the_damping_follows_the_gain_over_what_the_model_predicts(monkeypatch):
    """Nielsen's rule, from a tenth of the mean of the diagonal of J'J on."""
    monkeypatch.setattr(cp_descent, "_WARM_UP", 0)  # so that some steps are poor
    problem, U = packed((6, 5, 4), 3, starts=6)
    descent, gains = cp_descent.Descent(problem, U), []
    diagonal = [(jacobian(problem, U) ** 2).sum(0).reshape(U.shape)[:, 0].mean() for U in descent.U]
    np.testing.assert_allclose(descent.damping, 0.1 * np.array(diagonal), rtol=1e-10)
    for _ in range(8):
        damping, growth, cost = descent.damping, descent.growth, descent.cost
        parts = (descent.U, descent.blocks, descent.cross)
        x = cp_descent.step(*parts, descent.gradient, damping, problem.shape)
        predicted = -(descent.gradient * x).sum((1, 2, 3)) - 0.5 * (x * cp_descent.jtj(x, *parts)).sum((1, 2, 3))
        descent.iterate()
        gain = (cost - descent.cost) / predicted
        expected = np.where(gain > 0, np.maximum(0.5, 1 - (2 * gain.clip(max=1) - 1) ** 3), growth)
        np.testing.assert_allclose(descent.damping / damping, expected, rtol=1e-8)
        gains += gain.tolist()
    assert any(0.1 < gain < 0.4 for gain in gains)
    assert any(0.6 < gain < 0.85 for gain in gains)


def test_steps_that_raise_the_error_are_refused_and_damped_ever_more(monkeypatch):
    problem, U = packed((6, 5, 4), 3)
    descent, solved = cp_descent.Descent(problem, U), cp_descent.step
    for _ in range(2):
        monkeypatch.setattr(cp_descent, "step", lambda U, blocks, cross, gradient, *rest: 1e-4 * gradient)
        before, damping = descent.U, descent.damping
        for growth in (2, 8, 64):
            descent.iterate()
            np.testing.assert_allclose(descent.damping, growth * damping)
        assert np.array_equal(descent.U, before)
        monkeypatch.setattr(cp_descent, "step", solved)
        descent.iterate()
        assert (descent.history[-1] < descent.history[-2]).all()


@pytest.mark.parametrize("start", ["random", "hosvd"])
def test_error_never_rises(start):
    history = cp_nls(noisy((12, 10, 3, 3), 6, 2), 4, start=start, max_iterations=80).history
    assert len(history) > 5
    assert all(later <= earlier for earlier, later in pairwise(history))
    assert history[5] < 0.999 * history[0]


def test_error_falls_with_rank():
    tensor = noisy((8, 8, 3, 3), 8, 4, noise=1.0)
    errors = [cp_decompose(tensor, rank, starts=4, scouts=2).relative_error for rank in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


def test_matches_the_singular_value_decomposition_at_order_two():
    matrix = noisy((9, 7), 7, 8)
    singular = torch.linalg.svdvals(matrix)
    best = float(singular[3:].norm() / singular.norm())
    assert cp_decompose(matrix, 3, starts=2, scouts=1, tolerance=1e-12).relative_error == pytest.approx(best, rel=1e-7)


def test_components_are_balanced():
    factors = cp_decompose(noisy((9, 6, 3, 3), 5, 6), 4, starts=2, scouts=1).factors
    norms = torch.stack([factor.norm(dim=0) for factor in factors])
    torch.testing.assert_close(norms, norms[:1].expand_as(norms), rtol=1e-10, atol=0)


def test_factors_follow_the_order_and_the_scale_of_the_tensor():
    tensor = 1e4 * noisy((3, 8, 2, 5), 3, 7).float()
    result = cp_decompose(tensor, 3, starts=2, scouts=1)
    assert [tuple(factor.shape) for factor in result.factors] == [(3, 3), (8, 3), (2, 3), (5, 3)]
    assert all(factor.dtype == torch.float64 for factor in result.factors)
    again = cp_decompose(tensor.permute(1, 3, 0, 2), 3, starts=2, scouts=1).relative_error
    assert result.relative_error == pytest.approx(again, abs=0.02)


def test_same_seed_same_bits():
    tensor = noisy((10, 9, 3, 3), 6, 9)
    torch.manual_seed(1)
    first = cp_decompose(tensor, 5, starts=2, scouts=2, seed=3)
    torch.manual_seed(2)
    second = cp_decompose(tensor, 5, starts=2, scouts=2, seed=3)
    assert first.history == second.history
    assert all(torch.equal(a, b) for a, b in zip(first.factors, second.factors, strict=True))
    other = random_start(tensor.shape, 5, 4)
    assert not torch.equal(random_start(tensor.shape, 5, 3)[0], other[0])


def test_starts_are_seeded_and_named():
    tensor = noisy((10, 9, 3, 3), 6, 9)
    result = cp_decompose(tensor, 5, starts=4, scouts=1, seed=20)
    assert 20 <= result.seed < 24
    assert result.start == ("hosvd" if result.seed == 23 else "random")
    assert cp_nls(tensor, 5, start=result.factors, max_iterations=1).start == "given"


def test_hosvd_start_stays_in_the_leading_subspaces():
    tensor = cp_reconstruct(random_start((9, 8, 7), 3, 1))
    for mode, factor in enumerate(hosvd_start(tensor, 3, 0)):
        unfolding = tensor.movedim(mode, 0).flatten(1)
        basis = torch.linalg.svd(unfolding).U[:, :3]
        torch.testing.assert_close(basis @ (basis.T @ factor), factor, rtol=0, atol=1e-10)


def test_a_good_start_is_not_made_worse():
    tensor = noisy((9, 8, 3, 3), 5, 3)
    good = cp_decompose(tensor, 4, starts=4, scouts=2)
    assert cp_nls(tensor, 4, start=good.factors).relative_error <= good.relative_error * (1 + 1e-12)


def test_zero_tensor():
    result = cp_decompose(torch.zeros(4, 3, 2), 2)
    assert all(bool((factor == 0).all()) for factor in result.factors)


@pytest.mark.parametrize("rank", [0, -1, 19, 2.5])
def test_impossible_rank_names_the_range(rank):
    with pytest.raises(ConvpressError, match=rf"rank is {rank}; .* 1 to 18"):
        cp_decompose(torch.ones(7, 6, 3), rank)


@pytest.mark.parametrize("rank", [np.int64(3), torch.tensor(3)])
def test_arrays_and_their_integers_are_as_good_as_tensors(rank):
    tensor = noisy((5, 4, 3), 3, 2)
    expected = cp_nls(tensor, 3).factors
    for solve in (cp_nls, partial(cp_decompose, starts=1, scouts=1)):
        assert all(map(torch.equal, solve(tensor.numpy(), rank).factors, expected))


def test_rank_at_its_limit_is_exact():
    tensor = noisy((4, 3, 2), 3, 5)
    assert cp_decompose(tensor, 6, starts=4, scouts=2).relative_error < 1e-6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_refused(value):
    tensor = torch.ones(4, 3, 2)
    tensor[1, 1, 1] = value
    with pytest.raises(ConvpressError, match="NaN or infinity"):
        cp_nls(tensor, 2)


def test_other_bad_input_is_refused():
    tensor = torch.ones(4, 3, 2)
    with pytest.raises(ConvpressError, match="order 2"):
        cp_nls(torch.ones(5), 1)
    with pytest.raises(ConvpressError, match="unknown CP start 'svd'"):
        cp_nls(tensor, 2, start="svd")
    with pytest.raises(ConvpressError, match=r"\(I_n, 2\)"):
        cp_nls(tensor, 2, start=random_start((4, 3, 3), 2, 0))
    with pytest.raises(ConvpressError, match="at least one start"):
        cp_decompose(tensor, 2, starts=0)


@pytest.mark.parametrize("layer", TENSORLAB)
def test_reaches_tensorlab(layer):
    path = mirrored("checkpoints/resnet32-d509ac18.th")
    weights = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    kernel = weights[f"module.{layer}.weight"]
    begun = time.process_time()
    result = cp_decompose(kernel, kernel.shape[1] // 2)
    assert result.relative_error <= TENSORLAB[layer] + 0.00005
    assert time.process_time() - begun < MOST_SECONDS, "of computing: other tests run beside"
