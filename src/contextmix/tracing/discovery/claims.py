"""What is claimed of a module call that may be a block, before the block equation proves it, and why it may be none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from contextmix.traces.anatomy import Sublayer


class NotABlock(Exception):
    """Why a module call is not a block of the block equation; `discover` turns it into a refusal."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What a block adds up: its two sub-layers, and what the modules that are added wrote."""

    attention: Sublayer
    ffn: Sublayer
    ffn_out: Tensor
    parallel: bool = False
    attention_added: Tensor | None = None
    ffn_added: Tensor | None = None
