"""Runs to be killed: their texts, a process that makes one, and what lies in a folder afterwards, bit for bit."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

import contextmix as cm
from contextmix.datasets.running import work
from contextmix.datasets.running.workers import MODULES
from contextmix.processes.start import context

WORDS = ("the", "film", "is", "a", "warm", ",", "quiet", "and", "good", "story", "nobody", "asked", "for", "dull", ".")

# Without `if __name__ == "__main__"`: a user's script may lack it too.
SCRIPT = """
import sys, contextmix as cm
data, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
cm.run(data, out, shard_size=8, batch_tokens=64, workers=workers, progress=False)
"""


def write_texts(path: Path, count: int) -> Path:
    """Texts of many lengths; each tenth is empty, which is a problem to be recorded."""
    draw = random.Random(5)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 16))) if number % 10 else "" for number in range(count)]
    path.write_text("".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in texts), encoding="utf-8")
    return path


def start(data: Path, out: Path, workers: int) -> subprocess.Popen:
    """A run in a process of its own, from a script."""
    script = data.with_name("script.py")
    script.write_text(SCRIPT, encoding="utf-8")
    arguments = [sys.executable, script, data, out, str(workers)]
    # One thread, as the run in this process that it is compared with: several add up in another order.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)


def begin(data: Path, out: Path, part_seconds: float, **options: Any) -> BaseProcess:
    """The same in a process that is there at once: forked from the server of `contextmix.processes`."""
    process = context(MODULES).Process(target=_run, args=(data, out, part_seconds, options), daemon=True)
    process.start()
    return process


def _run(data: Path, out: Path, part_seconds: float, options: dict[str, Any]) -> None:
    work.PART_SECONDS = part_seconds
    torch.set_num_threads(1)
    cm.run(data, out, **(options or {"batch_tokens": 64}), shard_size=8, progress=False)


def content(out: Path) -> tuple[int, str]:
    """Rows, and everything that the tables say: the digits of a number that Python prints identify its bits."""
    tables = [pq.read_table(path) for path in sorted((out / "shards").glob("*.parquet"))]
    shown = [(table.schema.to_string(), table.schema.metadata, table.to_pylist()) for table in tables]
    return sum(map(len, tables)), repr(shown)


def rest(out: Path) -> list[str]:
    """Files that a finished run has no use for."""
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    used = {"manifest.json", ".lock", *(f"shards/{number:05}.parquet" for number in range(len(files)))}
    return sorted(files - used)


def descendants(pid: int) -> set[int]:
    """The processes that a process started, and that these started."""
    parents, found, new = living(), set(), {pid}
    while new:
        new = {one for one, parent in parents.items() if parent in new}
        found |= new
    return found


def living() -> dict[int, int]:
    """Every process and its parent, without those that have ended and wait for somebody to notice."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def eventually(happened: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether something happens in time."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()
