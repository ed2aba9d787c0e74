"""The modes of torch in which numbers are made are contextmix's own, and those of the caller come back."""

import pytest
import torch

from contextmix.tracing.recording.modes import own_modes


def modes() -> tuple[bool, bool, bool]:
    return torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("mode", "inside"),
    [
        (torch.inference_mode, (False, False, False)),  # leaving it would turn gradients on, and keep every activation
        (torch.no_grad, (False, False, False)),
        (torch.enable_grad, (False, True, False)),
        (lambda: torch.autocast("cpu", torch.bfloat16), (False, True, False)),
    ],
    ids=["inference", "no_grad", "enable_grad", "autocast"],
)
def test_neither_inference_mode_nor_autocast_and_gradients_as_they_were(mode, inside):
    outside = modes()
    with mode():
        asked = modes()
        with own_modes():
            assert modes() == inside
        assert modes() == asked
    assert modes() == outside
