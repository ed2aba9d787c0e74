"""Some rows of a fused attention's weights: those rows of what the eager attention gives for all queries."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contextmix.tracing.recording.row_attention import Attending

N, HEADS, WIDTH = 5, 2, 4
ROWS = [slice(0, 1), slice(1, 3), slice(4, 5), slice(0, N)]


def eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **told: Any):
    """As models write it, with a bias for each pair of tokens (T5) and a number per head."""
    scores = query @ key.mT * told["scaling"] + told["position_bias"] + told["sinks"]
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ value, weights


def given() -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, HEADS, N, WIDTH, dtype=torch.float64)
    told = {"position_bias": torch.randn(1, HEADS, N, N).double(), "sinks": torch.randn(1, HEADS, 1, 1).double()}
    return query, key, value, {**told, "scaling": 0.5}


def whole(hidden: Tensor, own: tuple[Tensor, Tensor, Tensor, dict[str, Any]]) -> Tensor:
    """All rows, one weight at a time, where ``hidden`` (query, key) says which are zero."""
    query, key, _, told = own
    found = torch.zeros(1, HEADS, N, N, dtype=torch.float64)
    for head in range(HEADS):
        for row in range(N):
            logits = [
                float(query[0, head, row] @ key[0, head, place] * 0.5 + told["position_bias"][0, head, row, place])
                for place in range(N)
            ]
            raised = [0.0 if hidden[row, place] else math.exp(one) for place, one in enumerate(logits)]
            found[0, head, row] = torch.tensor([one / sum(raised) for one in raised], dtype=torch.float64)
    return found


LATER = torch.ones(N, N).triu(1).bool()
SOME = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 0, 1], [1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()


@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("kind", ["none", "causal", "told causal", "true and false", "added"])
def test_rows_are_those_of_all_queries(rows: slice, kind: str):
    own = given()
    query, key, value, told = own
    module = nn.Module()
    module.is_causal = kind == "causal"
    mask = {"true and false": ~SOME[None, None], "added": torch.zeros(1, 1, N, N).double()}.get(kind)
    if kind == "added":
        mask = mask.masked_fill(SOME, torch.finfo(torch.float64).min)
    if kind == "told causal":
        told = {**told, "is_causal": True}
    hidden = LATER if "causal" in kind else torch.zeros(N, N).bool() if kind == "none" else SOME
    attend = lambda *a, is_causal=None, **more: eager(*a, **more)  # noqa: E731
    found = Attending(attend, module, query, key, value, mask, told).attended(rows)[1]
    torch.testing.assert_close(found, whole(hidden, own)[:, :, rows], rtol=0, atol=1e-12)
