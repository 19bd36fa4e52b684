"""Our solvers beside tensorly's: at or below its errors, on real kernels where there are some, else on random ones."""

import pytest
import torch

from convpress.decompose import reference
from convpress.decompose.cp import competing_starts
from convpress.decompose.reference import chain_reference, parafac_reference, tucker_reference
from convpress.decompose.tensor_chain import chain_decompose, chain_tensor
from convpress.decompose.tensors import kernel_to_order3
from convpress.decompose.tucker import tucker_decompose, tucker_tensor
from convpress.sensitivity import FAMILIES, ranks_for
from made_tensors import normal
from mirror import mirrored

LAYERS = ["layer1.2.conv1", "layer2.2.conv2"]
SLACK = 1 + 1e-4


@pytest.fixture(scope="module")
def kernels():
    try:
        path = mirrored("checkpoints/resnet32-d509ac18.th")
    except pytest.skip.Exception:
        generator = torch.Generator().manual_seed(0)
        return {layer: made_kernel(size, generator) for layer, size in zip(LAYERS, (16, 32), strict=True)}
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {layer: state[f"module.{layer}.weight"].double() for layer in LAYERS}


def made_kernel(size: int, generator: torch.Generator) -> torch.Tensor:
    """A 3x3 kernel of as many input and output channels, its components falling off as those of trained ones do."""
    factors = [torch.randn(n, 60, generator=generator, dtype=torch.float64) for n in (size, size, 9)]
    weights = 0.93 ** torch.arange(60, dtype=torch.float64)
    return torch.einsum("r,tr,sr,pr->tsp", weights, *factors).reshape(size, size, 3, 3)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("compression", [2, 4])
def test_tucker_is_at_or_below_partial_tucker(kernels, layer, compression):
    ranks = ranks_for("tucker", kernels[layer].shape, compression)
    tensor = kernel_to_order3(kernels[layer])
    assert tucker_decompose(tensor, ranks).relative_error <= SLACK * tucker_reference(tensor, ranks).relative_error


@pytest.mark.parametrize("compression", [2, 4])
def test_chain_is_at_or_below_tensor_ring_als(kernels, compression):
    kernel = kernels[LAYERS[0]]
    ranks = ranks_for("tensor_chain", kernel.shape, compression)
    tensor = kernel_to_order3(kernel)
    peer = chain_reference(tensor, ranks, iterations=100)
    assert chain_decompose(tensor, ranks).relative_error <= SLACK * peer.relative_error


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("compression", [2, 4])
def test_cp_is_at_or_below_parafac_from_the_same_starts(kernels, layer, compression):
    kernel = kernels[layer]
    rank, tensor = ranks_for("cp", kernel.shape, compression), kernel_to_order3(kernel)
    factors = FAMILIES["cp"].decompose(tensor, rank, 2, 100, 0)
    ours = float((tensor - FAMILIES["cp"].rebuild(factors)).norm() / tensor.norm())
    assert ours <= SLACK * parafac_reference(tensor, rank, starts=2, seed=0, iterations=100).relative_error


def test_peers_report_the_error_of_what_they_return():
    """An exact tensor is found exactly, so the factors are read in the right order."""
    generator = torch.Generator().manual_seed(1)
    blocks = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((2, 9, 3), (6, 2), (7, 3))]
    assert tucker_reference(tucker_tensor(*blocks), (2, 3)).relative_error < 1e-10
    cores = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((1, 6, 2), (2, 9, 3), (3, 7, 1))]
    assert chain_reference(chain_tensor(cores), (1, 2, 3), iterations=200).relative_error < 1e-3


def test_parafac_is_the_best_of_its_starts(monkeypatch):
    tensor, options = normal(5, 4, 3), {"starts": 1, "seed": 0, "iterations": 10}
    starts = competing_starts(tensor, 1, None, 0)
    together = parafac_reference(tensor, 2, **options).relative_error
    alone = []
    for start in starts:
        monkeypatch.setattr(reference, "competing_starts", lambda *_, start=start: [start])
        alone.append(parafac_reference(tensor, 2, **options).relative_error)
    assert together == pytest.approx(min(alone), rel=1e-12)
    assert min(alone) < 0.999 * alone[-1]
