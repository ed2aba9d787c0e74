"""Killed at random moments and taken up again each time, a run ends as if nothing had happened."""

import json
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from tests.datasets.killing import begin, content, eventually, rest, write_texts
from tests.datasets.questions import SETTINGS, assert_same_answers, many

import contextmix as cm

pytestmark = pytest.mark.campaign

KILLS = int(os.environ.get("CONTEXTMIX_KILLS", "4"))
ROWS = 200
PART_SECONDS = 0.05


def files(out: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in out.rglob("*.parquet")}


def works(process: BaseProcess, out: Path, before: set[str]) -> bool:
    """Whether a process has begun to write results, after it started and took up what was there."""
    return eventually(lambda: files(out) != before or not process.is_alive()) and process.is_alive()


def whole(data: Path, out: Path, **options: Any) -> float:
    """Run to the end; the seconds from its first results on."""
    process, before = begin(data, out, PART_SECONDS, **options), files(out)
    works(process, out, before)
    begun = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begun


def stage(out: Path) -> str:
    """Where in a run it was killed."""
    if not (out / "manifest.json").exists():
        return "starting"
    shards, parts = (len(list((out / name).glob("*.parquet"))) for name in ("shards", "parts"))
    return f"{shards} shards, {parts} parts, {len(list(out.rglob('.*.part')))} half-written files"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("options", [{}, SETTINGS], ids=["texts", "questions"])
def test_a_run_that_is_killed_again_and_again_gives_the_same(tmp_path, options):
    data = tmp_path / "rows.jsonl"
    if options:
        data.write_text("".join(json.dumps(row) + "\n" for row in many(ROWS)), encoding="utf-8")
    else:
        write_texts(data, ROWS)
    seconds = whole(data, tmp_path / "whole", **options)
    expected = content(tmp_path / "whole")
    assert expected[0] == ROWS
    draw, killed, attempt = random.Random(11), [], 0
    while len(killed) < KILLS:
        out = tmp_path / f"killed-{attempt}"
        before = files(out)
        process = begin(data, out, PART_SECONDS, **options)
        if len(killed) % 4 == 1:
            time.sleep(draw.uniform(0, 1))  # while it starts, or just after
        elif works(process, out, before):
            time.sleep(draw.uniform(0, 2 * seconds / KILLS))
        if process.is_alive():
            process.kill()
            killed.append(stage(out))
        else:  # it was faster: another folder for the next ones
            assert content(out) == expected
            attempt += 1
        process.join()
    print("Killed at:", *killed, sep="\n  ")
    whole(data, out, **options)
    assert content(out) == expected
    assert [name for name in rest(out) if not name.startswith("maps/")] == []
    if options:
        assert_same_answers(cm.open_run(out), cm.open_run(tmp_path / "whole"))
    else:
        assert rest(out) == []
