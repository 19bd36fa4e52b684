"""The correction keeps its bounds from starts that cannot be improved, and gives copies."""

import pytest
import torch
from test_sensitivity import _CP, CHAIN, CP, TUCKER, blocks_of, normal

from convpress.decompose.sensitivity import correct_cp
from convpress.decompose.tensors import cp_tensor


def least_squares(kind, shape, seed, sweeps=30):
    """A tensor and blocks that alternating least squares has converged to."""
    X, blocks = normal(*shape, seed=seed), blocks_of(kind, shape, (2, 2, 2), seed=9 + seed)
    problem = kind[3](X)
    for _ in range(sweeps):
        for n in range(3):
            blocks[n] = problem.shaped(problem.block(blocks, n).solve(0.0), blocks, n)
    return X, blocks


@pytest.mark.parametrize("kind", [CP, TUCKER, CHAIN], ids=["cp", "tucker", "chain"])
@pytest.mark.parametrize("seed", [0, 1])
def test_zero_slack_from_a_converged_start_gains_and_keeps_the_error(kind, seed):
    sensitivity, correct, rebuild, _ = kind
    X, blocks = least_squares(kind, (5, 4, 6), seed)
    corrected = correct(X, blocks, 0.0, max_sweeps=60)
    before, after = (float((X - rebuild(b)).norm()) for b in (blocks, corrected))
    assert after <= before * (1 + 1e-12)
    assert float(sensitivity(corrected)) < 0.3 * float(sensitivity(blocks))


@pytest.mark.parametrize("kind", [CP, TUCKER, CHAIN], ids=["cp", "tucker", "chain"])
def test_half_of_what_the_start_explains_stays_whatever_the_slack(kind):
    _, correct, rebuild, _ = kind
    X, blocks = least_squares(kind, (5, 4, 6), 0)
    kept, before = (
        float(X.square().sum() - (X - rebuild(b)).square().sum()) for b in (correct(X, blocks, 5.0), blocks)
    )
    assert kept >= 0.499 * before


def test_corrected_factors_are_copies_and_no_sweeps_only_balance():
    X, blocks = least_squares(CP, (5, 4, 6), 0)
    exact = cp_tensor(blocks)
    assert correct_cp(exact, blocks, 0.02)[0].data_ptr() != blocks[0].data_ptr()
    for found, balanced in zip(correct_cp(X, blocks, 0.5, max_sweeps=0), _CP(X).balance(blocks), strict=True):
        assert torch.equal(found, balanced)
