"""The competition of CP's starts: how they are drawn, who goes, when it ends."""

import numpy as np
import pytest
import torch
from test_cp import noisy

from convpress.decompose import cp, cp_descent
from convpress.decompose.cp import cp_decompose, cp_nls, hosvd_start, random_start


def test_the_worse_half_goes_until_one_in_eight_is_left_and_its_seed_tells_the_start(monkeypatch):
    kept, keep = [], cp_descent.Descent.keep
    monkeypatch.setattr(cp_descent.Descent, "keep", lambda self, which: kept.append(len(which)) or keep(self, which))
    tensor, options = noisy((8, 7, 6), 6, 9, noise=1.0), {"max_iterations": 90, "tolerance": 0.0}
    result = cp_decompose(tensor, 6, starts=4, scouts=4, seed=20, **options)
    assert kept == [8, 4, 2, 1]
    alone = cp_nls(tensor, 6, start=result.start, seed=result.seed, **options)
    assert result.history[:10] == pytest.approx(alone.history[:10], rel=1e-6)


@pytest.mark.parametrize(
    ("falls", "stuck"), [([0.9895], False), ([0.9905], True), ([0.999, 0.98], False), ([0.999, 0.995], True)]
)
def test_a_descent_ends_when_ten_iterations_lower_no_error_by_the_tolerance(falls, stuck):
    history = [np.array(falls) ** (iteration / 10) for iteration in range(11)]
    assert cp._stuck(history, 0.01) == stuck
    assert not cp._stuck(history[:10], 0.01)


def test_starts_have_the_variances_that_they_are_drawn_with():
    """Random factors that of columns of norm one, mixtures of singular vectors that of their singular values."""
    for factor in random_start((100, 25), 4000, 0):
        assert float(factor.square().sum(0).mean()) == pytest.approx(1, rel=0.01)
    tensor = noisy((6, 5, 4), 3, 2)
    for mode, factor in enumerate(hosvd_start(tensor, 4000, 0)):
        left, singular, _ = torch.linalg.svd(tensor.movedim(mode, 0).flatten(1), full_matrices=False)
        ratio = (left.T @ factor).square().mean(1).sqrt() / singular
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=0.05)
