"""Where actors ask; in a file of its own, as it lives in a process of its own, which needs no torch."""

from __future__ import annotations

from collections import Counter


class Desk:
    """What actors must know of each other: how often a shard was begun, what went wrong, whether to stop."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.failures: list[Exception] = []
        self.told = False

    def begin(self, shard: int) -> int:
        """Count that a shard is begun; how often it has been."""
        self.begun[shard] += 1
        return self.begun[shard]

    def fail(self, failure: list[Exception]) -> None:
        """Keep what an actor raised."""
        self.failures += failure

    def failed(self) -> list[Exception]:
        """What actors raised."""
        return self.failures

    def stop(self) -> None:
        """Tell the actors to stop."""
        self.told = True

    def stopped(self) -> bool:
        """Whether they are told to."""
        return self.told
