"""What does not fit is refused before the work."""

import re

import pytest

from contextmix.errors import BadInput
from contextmix.tracing.recording.mixing.memory import room_for


def test_maps_that_fit_are_not_refused():
    room_for(1 << 20, 128, "Mixer")


def test_the_refusal_says_what_would_fit():
    with pytest.raises(
        BadInput, match=r"Mixer has a map of its own for every channel: \d+\.\d GiB in one layer"
    ) as refusal:
        room_for(1 << 50, 1 << 20, "Mixer")
    fits = int(re.search(r"About (\d+) tokens would fit", str(refusal.value))[1])
    room_for((1 << 50) * fits**2 // (1 << 40), fits, "Mixer")  # maps grow with the square of the length
