"""What a run tells while it works."""

import io

import pytest
from rich.console import Console
from tests.datasets.runs import many

import contextmix as cm
from contextmix.datasets.running import progress
from contextmix.datasets.running.progress import Bar, Count, Lines, reporter
from contextmix.datasets.running.work import Advance


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_speed_counts_this_process_and_totals_count_all(clock):
    with Count(100) as told:
        told(Advance(40, 400, 3, earlier=True))
        clock[0] += 2
        told(Advance(10, 80, 1))
    assert (told.texts, told.failed, told.speed) == (50, 4, (5.0, 40.0))
    assert told.summary() == {
        "texts": 10,
        "tokens": 80,
        "seconds": 2.0,
        "texts_per_second": 5.0,
        "tokens_per_second": 40.0,
    }


def test_a_plain_line_every_ten_seconds(clock):
    console = Console(file=io.StringIO(), width=200)
    with Lines(10_000, console) as told:
        for _ in range(25):
            clock[0] += 1
            told(Advance(100, 2000, 1))
    assert console.file.getvalue().splitlines() == [
        "1,000 of 10,000 texts, 100.0 texts/s, 2,000 tokens/s, 10 failed, 0:01:30 left",
        "2,000 of 10,000 texts, 100.0 texts/s, 2,000 tokens/s, 20 failed, 0:01:20 left",
    ]


def test_a_bar_in_a_terminal(clock):
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with Bar(200, console) as told:
        told(Advance(100, 0, 0, earlier=True))
        clock[0] += 1
        told(Advance(50, 500, 2))
    shown = console.file.getvalue()
    assert "150/200" in shown
    assert "50.0 texts/s" in shown
    assert "2 failed" in shown


def test_nothing_is_said_where_nothing_is_asked_for(tmp_path, demo, capfd):
    assert type(reporter(5, show=False)) is Count
    cm.run(many(5), tmp_path, model=demo, progress=False)
    assert capfd.readouterr() == ("", "")
