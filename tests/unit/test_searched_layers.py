"""What searched layers take: numbers that are none, images by themselves, and the layers they are made of."""

import math

import pytest
import torch
from torch import nn

from convpress.errors import ConvpressError
from convpress.kernel_search import add_branch, extend_cp
from convpress.layers import SearchedConv2d, SeparableCPConv2d


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"mask": "preservin"}, "mask is"),
        *(({"dense_size": size}, "dense_size is") for size in (4, None, 3.0, -1)),
        *(({"extent": extent}, "an odd number of taps") for extent in (4, 1, 3.0, None)),
        *(({place: size}, f"{place} is") for place in ("in_channels", "out_channels", "rank") for size in (0, -1, 2.0)),
    ],
)
def test_impossible_options_of_a_searched_layer_are_refused(option, words):
    with pytest.raises(ConvpressError, match=words):
        SearchedConv2d(**{"in_channels": 3, "out_channels": 3, "rank": 1} | option)


@pytest.mark.parametrize("dense_size", [0, 3])
def test_an_image_by_itself_is_searched_as_in_a_batch(dense_size):
    layer, x = SearchedConv2d(3, 4, 2, extent=5, dense_size=dense_size), torch.randn(3, 6, 7)
    assert torch.equal(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("sigma", [math.nan, math.inf])
def test_a_width_that_is_no_number_is_refused(sigma):
    for make in (
        lambda: extend_cp(SeparableCPConv2d(4, 4, 2, 3, padding=1), extent=21, sigma=sigma, mask="scaled"),
        lambda: add_branch(nn.Conv2d(4, 4, 3, padding=1), 2, extent=7, sigma=sigma, seed=0),
    ):
        with pytest.raises(ConvpressError, match=f"sigma is {sigma}; a finite number"):
            make()


def test_what_is_no_cp_layer_is_not_extended():
    with pytest.raises(ConvpressError, match="this is a Conv2d; a search starts from a SeparableCPConv2d"):
        extend_cp(nn.Conv2d(4, 4, 3, padding=1), extent=21, sigma=-1.0, mask="scaled")
