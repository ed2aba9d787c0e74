"""What tests of runs share: a few texts, tables that are compared, and what `explain` says of one text."""

import functools
import os
import signal

import numpy as np
import pyarrow as pa
from tests.tracing.tiny import build, word_pieces

import contextmix as cm
from contextmix.plugins.plan import METHODS, make_plan

MIXING = tuple(name for name in METHODS if not make_plan(name).of_model)
WHOLE = tuple(name for name in METHODS if make_plan(name).of_model)

TEXTS = (
    "a deep and meaningful film .",
    "the plot is dull , but her face shines .",
    "unforgettable",
    "every line is warm and true , the rest is not .",
    "good film",
    "the film is bad , but every face is warm .",  # 12 tokens, as the second text: they run together
)
ROWS = tuple({"text": text, "label": number % 2} for number, text in enumerate(TEXTS))

measured = functools.partial(cm.run, progress=False)


def many(count, words=("good", "bad", "warm", "dull", "film")):
    """Short rows of three lengths, each text another one."""
    return [
        {"text": " ".join(words[(number // 5**place) % 5] for place in range(2 + number % 3))}
        for number in range(count)
    ]


def save_tiny(folder):
    """A classifier that takes next to no time."""
    build("bert", "ForSequenceClassification", vocab_size=len(word_pieces())).save_pretrained(folder)
    word_pieces().save_pretrained(folder)
    return folder


def table_of(run):
    """All rows of a run, failures included."""
    return run.dataset.to_table()


def assert_same_content(one, other):
    """The same rows, names, types and numbers, bit by bit."""
    assert one.schema.equals(other.schema)
    for name in one.column_names:
        left, right = (table[name].combine_chunks() for table in (one, other))
        assert left.equals(right), name


def assert_close(found, expected):
    """Equal to the rounding of float32, beside the largest number of a row: the demo adds up 384 to 1536 numbers, whose
    rounding adds up to about the root of so many eps, in three layers."""
    assert found.shape == expected.shape
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    error = np.abs(found - expected) / np.maximum(largest, 1e-30)
    assert error.max() <= 64 * np.finfo(np.float32).eps, f"largest relative error {error.max():.3g}"


def rows_of(table: pa.Table, name: str = "row"):
    """A column as a list."""
    return table[name].to_pylist()


LONG = [*many(30), {"text": " "}, *many(9)]
SETTINGS = {"shard_size": 8, "batch_tokens": 12, "methods": ["globenc", "norm"], "maps": True}


def interrupt_after(count):
    def before(batches):
        if batches == count:
            os.kill(os.getpid(), signal.SIGTERM)

    return before


def assert_same_run(found, expected):
    """The table bit by bit, and every map."""
    assert_same_content(table_of(found), table_of(expected))
    assert not (found.folder.path / "parts").exists()
    for number in expected.to_pandas(["id"]).index:
        for method in expected.settings.methods:
            one, other = found.map(number, method), expected.map(number, method)
            assert (one.values == other.values).all()
