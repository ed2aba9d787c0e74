"""How a norm is recognised by what it computes."""

import pytest
import torch
from torch import nn

from contextmix.tracing.recording.resolve import recognise_norm
from contextmix.tracing.recording.verify import tolerance


class Rms(nn.Module):
    def __init__(self, width, offset=0.0):
        super().__init__()
        self.weight, self.variance_epsilon, self.offset = nn.Parameter(torch.ones(width) - offset), 1e-6, offset

    def forward(self, states):
        wide = states.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return (wide * (self.weight.float() + self.offset)).to(states.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("module", "kind", "offset"),
    [(Rms(512), "rms", 0.0), (Rms(512, 1.0), "rms", 1.0), (nn.LayerNorm(512), "layer", 0.0)],
    ids=["rms", "rms with offset", "layer"],
)
def test_the_kind_that_fits_best_is_taken(module, kind, offset, dtype):
    """Rows with a mean near zero: in half precision another kind is near enough, and would be the wrong one."""
    torch.manual_seed(0)
    states = torch.randn(8, 512)
    states = (states - states.mean(-1, keepdim=True) + 0.02 * torch.randn(8, 1)).to(dtype)
    own = module.to(dtype)
    with torch.no_grad():
        place = recognise_norm("norm", own, states, own(states), tolerance(dtype))
    assert (place.kind, place.offset) == (kind, offset)


def test_what_is_no_norm_of_its_input_is_refused():
    own = nn.LayerNorm(8)
    assert recognise_norm("norm", own, torch.randn(3, 8), torch.randn(3, 8), 1e-4) is None
