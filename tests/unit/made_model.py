"""A small network, and whether two networks are one."""

import torch

from convpress.models import create_model


def small_model(**arguments):
    torch.manual_seed(0)
    return create_model("resnet8", width=4, **arguments)


def same_answers(one, other, size=32):
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return torch.equal(one.eval()(x), other(x))
