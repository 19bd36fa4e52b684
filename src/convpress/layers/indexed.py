"""Integer tables of layers that are saved and moved with them, but are no buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from convpress.layers.base import ConvLayer


class IndexedConv2d(ConvLayer):
    """A layer with an integer tensor `index` in its state dict.

    It is no buffer, because moving averages average buffers: 0.9 i + 0.1 i of an integer rounds down to i - 1.
    """

    index: Tensor

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
        else:
            given = state_dict[key].detach()
            # As torch does with parameters: assign=True takes the state's place, which is how a meta network is filled.
            place = given.device if local_metadata.get("assign_to_params_buffers", False) else self.index.device
            self.index = given.to(place, self.index.dtype).clone()
        unexpected_keys[:] = [name for name in unexpected_keys if name != key]
