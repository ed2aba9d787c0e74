"""From the top layer of a run down to its input: which rows of each map an answer asks for, and what it makes of them.

Rows are shown a block at a time, so no map has to be there as a whole. Rollout carries what it asked for down through
all rows that weigh anything,

    r ← e_q,   r ← r M_l   for l = L … 1,

and other ways across layers look at one and the same row of each map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from contextmix.plugins.contracts import Measured, Method
from contextmix.plugins.plan import Plan, in_range


def goes_down(plan: Plan) -> bool:
    """Whether a row of what a plan gives can be made of blocks of rows."""
    way = plan.aggregation
    return (
        isinstance(plan.method, Method) and plan.method.by_rows and (way is None or way.alike or way.carry is not None)
    )


def descent(plan: Plan, query: int, shown: Sequence[int], like: Tensor) -> Descent:
    """The way down for a plan.

    Args:
        plan: For which `goes_down` is true.
        query: The position whose row is asked for.
        shown: The layers up to which maps are combined, or that are shown by themselves.
        like: Something of the device of the run, (position, …).
    """
    carries = plan.aggregation is not None and plan.aggregation.carry is not None
    return (Carried if carries else Alike)(plan, query, shown, like)


class Descent(ABC):
    """What one plan asks of a run, see `descent`."""

    def __init__(self, plan: Plan, query: int, shown: Sequence[int], like: Tensor) -> None:
        self.plan, self.query, self.shown, self.length = plan, query, shown, len(like)
        self.counts: dict[int, dict[str, Tensor]] = {}

    @abstractmethod
    def wants(self, number: int) -> slice:
        """The rows of a layer that have to be measured, from one position to another; asked for from the top down."""

    @abstractmethod
    def take(self, number: int, maps: Tensor, rows: slice, keys: slice) -> None:
        """Some of these rows, (..., row, key) over some keys; all others are zero."""

    @abstractmethod
    def found(self, depth: int) -> Tensor:
        """The row that was asked for in each layer shown, (layer, ..., key), of so many layers in all."""

    def add(self, number: int, measured: Measured, rows: slice, keys: slice) -> None:
        """See `take`; what is noted of a layer is a count of rows."""
        counts = self.counts.setdefault(number, {})
        for name, count in measured.notes.items():
            counts[name] = counts[name] + count if name in counts else count
        self.take(number, measured.values, rows, keys)

    @abstractmethod
    def sampled(self, number: int, wanted: slice) -> int | None:
        """The row of a layer that is made from scratch to check the others by; None in most layers."""

    @property
    def notes(self) -> list[Measured]:
        """The report of each layer, in order."""
        return [Measured(torch.empty(0), self.counts[number]) for number in sorted(self.counts)]


class Carried(Descent):
    """Of an aggregation that carries rows: (shown, position), what the rows above weigh, in float64."""

    def __init__(self, plan: Plan, query: int, shown: Sequence[int], like: Tensor) -> None:
        super().__init__(plan, query, shown, like)
        self.weights = torch.zeros(len(shown), self.length, dtype=torch.float64, device=like.device)
        self.below = self.weights
        self.measured_in = torch.float64

    def wants(self, number: int) -> slice:
        """See `Descent`; those that weigh anything."""
        self.weights, self.below = self.below, torch.zeros_like(self.below)
        starts = [which for which, top in enumerate(self.shown) if top == number]
        self.weights[starts, self.query] = 1
        places = self.weights.ne(0).any(0).nonzero()
        return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)

    def sampled(self, number: int, wanted: slice) -> int | None:
        """See `Descent`; one of many, in the middle layer."""
        return wanted.start + 5 * (wanted.stop - 1 - wanted.start) // 8 if number == max(self.shown) // 2 else None

    def take(self, number: int, maps: Tensor, rows: slice, keys: slice) -> None:
        """See `Descent`."""
        way = self.plan.aggregation
        assert way is not None  # or nothing would be carried
        assert way.carry is not None
        self.measured_in = maps.dtype
        self.below[:, keys] += way.carry(self.weights[:, rows], maps.double(), **self.plan.aggregation_options)

    def found(self, depth: int) -> Tensor:
        """See `Descent`."""
        assert self.plan.aggregation is not None
        maps = torch.empty(depth, self.length, dtype=self.measured_in, device="meta")  # for their number and precision
        return in_range(Measured(self.below), maps, self.plan.quantity, self.plan.aggregation).values


class Alike(Descent):
    """Of maps by themselves, or of an aggregation that needs the same row of each."""

    def __init__(self, plan: Plan, query: int, shown: Sequence[int], like: Tensor) -> None:
        super().__init__(plan, query, shown, like)
        combined = plan.aggregation is not None
        self.numbers = list(range(max(shown) + 1)) if combined else sorted(set(shown))
        self.rows: dict[int, Tensor] = {}

    def wants(self, number: int) -> slice:
        """See `Descent`; one."""
        return slice(self.query, self.query + (number in self.numbers))

    def sampled(self, number: int, wanted: slice) -> int | None:
        """See `Descent`; the only one."""
        return self.query if number == self.numbers[len(self.numbers) // 2] else None

    def take(self, number: int, maps: Tensor, rows: slice, keys: slice) -> None:
        """See `Descent`."""
        row = maps.new_zeros(*maps.shape[:-1], self.length)
        row[..., keys] = maps
        self.rows[number] = row

    def found(self, depth: int) -> Tensor:
        """See `Descent`."""
        maps = torch.stack([self.rows[number] for number in self.numbers])  # (layer, ..., 1, key)
        places = [self.numbers.index(number) for number in self.shown]
        return self.plan.combine(maps).values[places].squeeze(-2)
