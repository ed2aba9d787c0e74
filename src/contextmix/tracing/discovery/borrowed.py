"""Find out whose values an attention call mixes: its own block's, or those that an earlier block made and lends."""

from __future__ import annotations

import torch

from contextmix.tracing.discovery.diary import Diary


def lender(diary: Diary, number: int) -> int | None:
    """The first earlier attention call that mixes the very values of this one; None if none does."""
    value = diary.attended[number].value
    earlier = (moment.value for moment in diary.attended[:number])
    return next((at for at, other in enumerate(earlier) if torch.equal(other, value)), None)
