"""What needs no number is answered without the libraries that compute."""

import json
import os
import subprocess
import sys

import pytest

from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS

HEAVY = {"torch", "transformers", "pandas", "xarray", "scipy", "pyarrow", "safetensors", "tokenizers", "matplotlib"}
PROGRAM = """
import json, sys
from contextmix.cli import main
sys.argv[:] = ["contextmix", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def answered(*words: str) -> tuple[int, str, set[str]]:
    """The exit status of a command line, what it says, and the libraries that it had loaded."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=True)
    *said, last = done.stderr.splitlines()
    code, loaded = json.loads(last)
    return code or 0, done.stdout + "\n".join(said), set(loaded)


SAID = [
    (["--version"], 0, "contextmix "),
    (["--help"], 0, "Show which input tokens"),
    *[([verb, "--help"], 0, "Usage") for verb in ("check", "explain", "generate", "compare", "run", "serve")],
    *[([verb, "--help"], 0, "Usage") for verb in ("evaluate", "reproduce", "methods", "metrics", "models")],
    (["models"], 0, "llama"),
    (["models", "--type", "lama"], 1, "no model type 'lama'. Did you mean 'llama'"),
    (["models", "--status", "good"], 1, "no status 'good'"),
    (["explain", "a b", "--method", "globnec"], 1, "no method 'globnec'. Did you mean 'globenc'"),
    (["explain", "a b", "--method", "norm+rolout"], 1, "no aggregation 'rolout'. Did you mean 'rollout'"),
    (["explain", "a b", "--option", "normalize=true"], 1, "'normalize'. Did you mean 'normalise'"),
    (["explain", "a b", "--method", "norm", "--option", "heads=al"], 1, "heads=al is not allowed"),
    (["explain", "a b", "--metod", "norm"], 2, "No such option: --metod"),
    (["explain", "a b", "--model", "dmeo"], 1, "no model 'dmeo'"),
    (["serve", "--model", "dmeo"], 1, "no model 'dmeo'"),
    (["serve", "--model", "demo", "--model", "dmeo"], 1, "no model 'dmeo'"),
    (
        ["serve", "--dtype", "floaty"],
        1,
        "no data type 'floaty'. Use float32, float64, bfloat16",
    ),
    (["explain", "a b", "--dtype", "floaty"], 1, "no data type 'floaty'"),
    (["run", "x.txt", "--out", "no-such", "--dtype", "int8"], 1, "no data type 'int8'"),
    (["check", "dmeo"], 1, "Did you mean 'demo'"),
    (["check", "./no model"], 1, "no model './no model'"),
    (["generate", "a b", "--method", "globnec"], 1, "Did you mean 'globenc'"),
    (["compare", "a b", "--methods", "globnec,attention"], 1, "Did you mean 'globenc'"),
    (["compare", "a b", "--methods", "attention"], 1, "two different methods"),
    (["run", "x.txt", "--out", "no-such", "--method", "globnec"], 1, "Did you mean 'globenc'"),
    (["run", "x.txt", "--out", "no-such", "--metrics", "spaerman"], 1, "Did you mean 'spearman'"),
    (["run", "x.txt", "--out", "no-such", "--metrics", "aopc", "--metric-option", "by=size"], 1, "by=size"),
    (["run", "x.txt", "--out", "no-such", "--model", "dmeo"], 1, "no model 'dmeo'"),
    (["evaluate", "--data", "x.txt", "--out", "no-such", "--methods", "globnec"], 1, "Did you mean 'globenc'"),
    (["evaluate", "--data", "x.txt", "--out", "no-such", "--metrics", "spaerman"], 1, "Did you mean 'spearman'"),
    (["evaluate", "--data", "x.txt", "--out", "no-such", "--suite", "2025"], 2, "'2025' is not one of '2026'"),
    (["evaluate", "--data", "x.txt", "--out", "no-such", "--reference", "occlusoin"], 1, "Did you mean 'occlusion'"),
    (["reproduce", "globenc", "--out", "no-such", "--model", "dmeo"], 1, "no model 'dmeo'"),
    (["reproduce", "globnec", "--out", "no-such"], 1, "no study 'globnec'. Did you mean 'globenc'"),
    (["reproduce", "globenc", "--out", "no-such", "--only", "tabel1"], 1, "'tabel1'. Did you mean 'table1'"),
]


@pytest.mark.parametrize(("words", "code", "said"), SAID, ids=[" ".join(words) for words, _, _ in SAID])
def test_no_library_that_computes_is_loaded(words: list[str], code: int, said: str):
    status, answer, loaded = answered(*words)
    assert status == code, answer
    assert said in answer
    assert not HEAVY & loaded


@pytest.mark.parametrize(("verb", "registries"), [("methods", [METHODS, AGGREGATIONS]), ("metrics", [METRICS])])
def test_tables_name_every_plugin_without_loading_one(verb: str, registries: list):
    status, answer, loaded = answered(verb)
    assert status == 0
    first = {line.split()[0] for line in answer.splitlines() if line.strip()}
    for registry in registries:
        assert set(registry) <= first
    assert not HEAVY & loaded


def test_the_same_words_spelled_right_do_load_them(tmp_path):
    """Else the tests above would pass on a list of names that nothing ever loads."""
    status, answer, loaded = answered("explain", "a good film")
    assert status == 0, answer
    assert loaded >= {"torch", "transformers"}
