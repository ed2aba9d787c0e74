"""How a long run tells where it is: a bar in a terminal, a plain line now and then elsewhere, or nothing."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contextmix.datasets.running.work import Advance

LINE_SECONDS = 10.0
"""Time between two plain lines."""


class Count:
    """Texts, tokens and failures so far, and their speed; the base of all reporters.

    Args:
        total: Texts of the whole run.
    """

    def __init__(self, total: int) -> None:
        self.total, self.texts, self.tokens, self.failed = total, 0, 0, 0
        self.begun, self.new, self.new_tokens = time.monotonic(), 0, 0

    def __enter__(self) -> Self:
        self.begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, advance: Advance) -> None:
        """More is done; what an earlier process did says nothing about speed."""
        self.texts, self.failed = self.texts + advance.texts, self.failed + advance.failed
        if not advance.earlier:
            self.new, self.new_tokens = self.new + advance.texts, self.new_tokens + advance.tokens

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.monotonic() - self.begun

    @property
    def speed(self) -> tuple[float, float]:
        """Texts and tokens per second in this process."""
        seconds = max(self.seconds, 1e-9)
        return self.new / seconds, self.new_tokens / seconds

    def summary(self) -> dict[str, Any]:
        """What the manifest says of the process that finished the run."""
        texts, tokens = self.speed
        return {
            "texts": self.new,
            "tokens": self.new_tokens,
            "seconds": round(self.seconds, 3),
            "texts_per_second": round(texts, 3),
            "tokens_per_second": round(tokens, 3),
        }


class Lines(Count):
    """A plain line every few seconds, for logs."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(total)
        self.console, self.last = console, time.monotonic()

    def __call__(self, advance: Advance) -> None:
        """See `Count`."""
        super().__call__(advance)
        if time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            texts, tokens = self.speed
            left = (self.total - self.texts) / texts if texts else 0.0
            self.console.print(
                f"{self.texts:,} of {self.total:,} texts, {texts:,.1f} texts/s, {tokens:,.0f} tokens/s, "
                f"{self.failed:,} failed, {_clock(left)} left",
                highlight=False,
            )


class Bar(Count):
    """A bar in a terminal."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(total)
        self.progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("texts · {task.fields[speed]} · {task.fields[failed]:,} failed ·"),
            TimeElapsedColumn(),
            TextColumn("gone ·"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self.task = self.progress.add_task("run", total=total, speed="", failed=0)

    def __enter__(self) -> Self:
        self.progress.start()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, advance: Advance) -> None:
        """See `Count`."""
        super().__call__(advance)
        texts, tokens = self.speed
        said = f"{texts:,.1f} texts/s · {tokens:,.0f} tokens/s" if self.new else "starting"
        self.progress.update(self.task, completed=self.texts, speed=said, failed=self.failed)


def reporter(total: int, *, show: bool) -> Count:
    """A bar where there is a terminal, else plain lines; silent if nothing is to be shown."""
    if not show:
        return Count(total)
    console = Console(stderr=True)
    return Bar(total, console) if console.is_terminal else Lines(total, console)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
