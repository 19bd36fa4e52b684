"""Integer tables of layers that are saved and moved with them, but are no buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convpress.decompose.tensors import as_tensor
from convpress.errors import ConvpressError
from convpress.layers.base import ConvLayer, are_integers


def check_labels(labels: Any, shape: Sequence[int], least: int) -> Tensor:
    """Return labels, also those of lists and arrays, as int64.

    Raises:
        ConvpressError: they have another shape, or are no integers from `least`.
    """
    values = as_tensor(labels)
    if values.shape != tuple(shape) or not are_integers(values, least):
        raise ConvpressError(f"labels must be integers from {least} of the shape {tuple(shape)}.")
    return values.long()


class IndexedConv2d(ConvLayer):
    """A layer with an integer tensor `index` in its state dict.

    It is no buffer, because moving averages average buffers: 0.9 i + 0.1 i of an integer rounds down to i - 1.
    """

    index: Tensor

    @property
    def largest_index(self) -> int:
        """What `index` holds at most."""
        return torch.iinfo(self.index.dtype).max

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        self.index = fn(self.index)
        return result

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "index"] = self.index

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        key = prefix + "index"
        if key not in state_dict:
            missing_keys.append(key)
        elif state_dict[key].shape != self.index.shape:
            error_msgs.append(f"{key}: shape {tuple(state_dict[key].shape)} is not {tuple(self.index.shape)}.")
        elif not state_dict[key].is_meta and not are_integers(state_dict[key], 0, self.largest_index):
            error_msgs.append(f"{key}: holds other numbers than the integers from 0 to {self.largest_index}.")
        else:
            given = state_dict[key].detach()
            # As torch does with parameters: assign=True takes the state's place, which is how a meta network is filled.
            place = given.device if local_metadata.get("assign_to_params_buffers", False) else self.index.device
            self.index = given.to(place, self.index.dtype).clone()
        unexpected_keys[:] = [name for name in unexpected_keys if name != key]
