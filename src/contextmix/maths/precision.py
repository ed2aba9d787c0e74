"""In which precision the maths computes."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision is for the model; the maths runs in float32 or, for a float64 model, in float64.

    Example:
        >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 itself. A processor that does not takes four times as long."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
