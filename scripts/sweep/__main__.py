"""Try every model type of the installed transformers; write the results into the package, and the support page.

    make sweep                                  # all of them
    python -m scripts.sweep --only llama,bert   # some, printed

Each type is tried in a process of its own, so that none can end the run: with `SECONDS` of time and `GIGABYTES` of
memory. What it finds is the same on every run of the same transformers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import transformers
from scripts.sweep.build import holders
from scripts.sweep.examine import Finding, examine
from scripts.sweep.page import write_page

import contextmix.models.verbs  # noqa: F401 (loaded once here, not in every child)

SECONDS, GIGABYTES = 90, 6
RESULTS = Path(__file__).parents[2] / "src/contextmix/support/models.json"


def main() -> None:
    """See the top of this file."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", help="model types with commas; prints what is found and writes nothing")
    options.add_argument("--workers", type=int, default=2)
    given = options.parse_args()
    types = given.only.split(",") if given.only else sorted(set(transformers.CONFIG_MAPPING.keys()))
    began, found = time.monotonic(), {}
    for number, (model_type, finding) in enumerate(sweep(types, given.workers), 1):
        found[model_type] = finding
        print(f"{number}/{len(types)} {model_type}: {finding['status']} {finding['reason'][:150]}", file=sys.stderr)
    print(dict(Counter(one["status"] for one in found.values())), f"in {time.monotonic() - began:.0f} s")
    if given.only:
        print(json.dumps(found, indent=1))
    else:
        versions = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}
        results = {"versions": versions, "models": dict(sorted(found.items()))}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_page(results)
    wrong = [name for name, one in found.items() if one["status"] == "wrong"]
    if wrong:
        sys.exit(f"wrong without an error: {', '.join(wrong)}")


def sweep(types: Iterable[str], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Model types with what was found, in the order in which they finish."""
    torch.set_num_threads(1)
    holders()
    context = multiprocessing.get_context("fork")
    waiting, running = list(types), {}
    while waiting or running:
        while waiting and len(running) < workers:
            model_type = waiting.pop(0)
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(model_type, theirs))
            child.start()
            theirs.close()
            running[ours] = (model_type, child, time.monotonic())
        for pipe in wait(list(running), timeout=0.5):
            model_type, child, _ = running.pop(pipe)
            yield model_type, _answer(pipe, child)
        for pipe, (model_type, child, began) in list(running.items()):
            if time.monotonic() - began > SECONDS:
                child.kill()
                child.join()
                running.pop(pipe)
                yield model_type, Finding("not tried", reason=f"it took longer than {SECONDS} s").plain()


def _answer(pipe: Connection, child: Any) -> dict[str, Any]:
    try:
        found = pipe.recv()
    except EOFError:
        child.join()
        status = child.exitcode if child.exitcode >= 0 else signal.Signals(-child.exitcode).name
        return Finding(
            "not tried", reason=f"its process ended with {status} (it may use at most {GIGABYTES} GB)"
        ).plain()
    child.join()
    return found


def _child(model_type: str, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    answer.send(examine(model_type))


if __name__ == "__main__":
    main()
