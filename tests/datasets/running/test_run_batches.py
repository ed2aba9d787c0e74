"""What runs together, and what happens when it does not fit or one text breaks it."""

import time

import numpy as np
import pytest
import torch
from tests.datasets.broken import FOUND_LATER, WAYS, write_broken
from tests.datasets.runs import ROWS, TEXTS, assert_close, assert_same_content, many, measured, rows_of, table_of

from contextmix.datasets.reading.problems import problem_of
from contextmix.datasets.reading.source import open_source
from contextmix.datasets.running.measure import Measurer
from contextmix.datasets.storage.settings import Settings
from contextmix.errors import BadRow, NotFinite, OtherRun, UnknownName
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.contracts import Measured
from contextmix.plugins.plan import Plan


def ready_of(measurer, rows):
    return measurer.read(list(open_source(rows).rows()))


@pytest.fixture
def batches(monkeypatch):
    """The shapes of all batches that the model runs; ``fail`` is asked before each."""
    seen, real = [], TracedModel.measure_batch
    seen_with = {"fail": lambda tensors: None}

    def measure(self, tensors, plans, wanted=None):
        seen.append(tuple(tensors["input_ids"].shape))
        seen_with["fail"](tensors["input_ids"])
        return real(self, tensors, plans, wanted)

    monkeypatch.setattr(TracedModel, "measure_batch", measure)
    seen_with["shapes"] = seen
    return seen_with


def test_texts_of_equal_length_run_together_and_the_longest_first(demo):
    measurer = Measurer(demo, Settings(("globenc",)), batch_tokens=20)
    found = measurer.batches(ready_of(measurer, many(30)))
    lengths = [{one.inputs.length for one in batch} for batch in found]
    assert all(len(length) == 1 for length in lengths)
    order = [length.pop() for length in lengths]
    assert order == sorted(order, reverse=True)
    assert all(len(batch) * length <= 20 for batch, length in zip(found, order, strict=True))
    assert all(batch for batch in found)
    assert sorted(one.row.number for batch in found for one in batch) == list(range(30))
    assert max(map(len, found)) > 1


def test_nothing_is_padded_and_every_batch_is_of_one_length(demo, tmp_path, batches):
    measured(many(40), tmp_path, model=demo, batch_tokens=50)
    assert sum(texts for texts, _ in batches["shapes"][1:]) == 40  # the first one is tried before the work
    assert all(texts * length <= 50 for texts, length in batches["shapes"])


def test_memory_and_long_texts_make_batches_smaller(demo):
    sizes = [
        Measurer(demo, Settings(("globenc",)), 10**6, budget).batch_size(32) for budget in (1, 2**22, 2**26, 2**40)
    ]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, 10**6 // 32)
    measurer = Measurer(demo, Settings(("globenc",)), 10**6, 2**26)
    assert measurer.batch_size(16) > 2 * measurer.batch_size(32) > 8 * measurer.batch_size(128)
    assert Measurer(demo, Settings(("globenc",)), 100).batch_size(400) == 1
    assert Measurer(demo, Settings(("decompx",))).batch_size(8) == 1


def test_out_of_memory_halves_until_it_fits(demo, tmp_path, batches):
    expected = table_of(measured(many(64), tmp_path / "one", model=demo))

    def full(ids):
        if len(ids) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    batches["fail"] = full
    batches["shapes"].clear()
    found = measured(many(64), tmp_path / "two", model=demo)
    assert found.summary()["results"] == 64
    for one, other in zip(rows_of(table_of(found), "globenc"), rows_of(expected, "globenc"), strict=True):
        assert_close(np.array(one), np.array(other))
    refused = [shape for shape in batches["shapes"] if shape[0] > 5]
    assert 1 <= len(refused) <= 6  # it learns: other batches of the shard are cut before they are tried
    assert max(texts for texts, _ in batches["shapes"][-3:]) >= 2  # and does not end with one text at a time


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("HIP"),
        MemoryError("Unable to allocate 3 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
    ids=str,
)
def test_a_text_that_does_not_fit_alone_is_recorded(demo, tmp_path, batches, failure):
    longest = len(demo.encode(TEXTS[3])[0].tokens)

    def full(ids):
        if ids.shape[1] == longest:
            raise failure

    batches["fail"] = full
    found = measured(ROWS, tmp_path, model=demo)
    assert found.failures().problem.to_dict() == {3: "out_of_memory"}
    assert str(failure)[:40] in found.failures().reason[3]
    assert len(found.to_pandas()) == len(ROWS) - 1


def test_allocators_of_this_machine_say_what_is_recognised():
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**60, dtype=torch.uint8)
    assert problem_of(failure.value).kind == "out_of_memory"


def test_a_text_whose_numbers_are_no_numbers_spoils_itself_only(demo, tmp_path, batches, monkeypatch):
    bad = demo.tokenizer.convert_tokens_to_ids("dull")
    embed = demo.model.get_input_embeddings()
    real = type(embed).forward

    def forward(self, ids):
        found = real(self, ids)
        return torch.where((ids == bad)[..., None], torch.nan, found) if self is embed else found

    monkeypatch.setattr(type(embed), "forward", forward)
    rows = [{"text": text} for text in ("good warm film", "dull film here", "bad warm film", "warm bad face")]
    found = measured(rows, tmp_path, model=demo)
    assert found.failures().problem.to_dict() == {1: "not_finite"}
    assert found.to_pandas().index.tolist() == [0, 2, 3]
    assert batches["shapes"][1][0] == 4  # together at first, and then in halves


def test_scores_that_are_no_numbers_are_a_failure_too(demo, tmp_path, monkeypatch):
    """A method may give infinity where the model does not."""
    longest, real = len(demo.encode(TEXTS[3])[0].tokens), Plan.measure

    def measure(plan, layer):
        values = real(plan, layer).values
        return Measured(values * torch.inf if values.shape[-1] == longest else values)

    monkeypatch.setattr(Plan, "measure", measure)
    found = measured(ROWS, tmp_path / "out", model=demo, methods="norm")
    assert found.failures().problem.to_dict() == {3: "not_finite"}
    assert "norm gives NaN or infinite scores" in found.failures().reason[3]
    with pytest.raises(NotFinite, match="norm gives NaN"):  # all of them: the model is at fault
        measured(ROWS[3:4], tmp_path / "all", model=demo, methods="norm")


# Rows that fail ------------------------------------------------------------------------------------------------------


@pytest.mark.campaign
def test_a_thousand_rows_of_which_fifty_are_broken_in_ten_ways(demo, tmp_path):
    ways = write_broken(tmp_path / "rows.jsonl")
    found = measured(tmp_path / "rows.jsonl", tmp_path / "out", model=demo, shard_size=400)
    assert (len(found), found.total, found.finished) == (1000, 1000, True)
    told = found.summary()
    assert (told["results"], told["failed"]) == (950, 50)
    kinds = {way: way for way in WAYS} | {"no_tokens": "bad_input"}
    assert FOUND_LATER == ("too_long", "no_tokens")
    assert found.failures().problem.to_dict() == {number: kinds[way] for number, way in ways.items()}
    assert found.failures().reason.str.len().min() > 20
    assert told["problems"] == dict.fromkeys(kinds.values(), 5)
    table = table_of(found)
    assert rows_of(table) == list(range(1000))
    for column in ("globenc", "tokens", "prediction", "query", "conservation"):
        missing = [number for number, value in enumerate(rows_of(table, column)) if value is None]
        assert missing == sorted(ways)


def test_a_query_that_the_first_rows_lack_does_not_refuse_the_others(demo, tmp_path):
    rows = [{"text": "a good film"}] * 20 + [{"text": "a warm face"}]
    found = measured(rows, tmp_path, model=demo, query="face")
    assert found.summary()["problems"] == {"unknown_token": 20}
    assert found.row(20).selected["query"] == 3
    twice = measured([{"text": "face face"}, *rows[-1:]], tmp_path / "twice", model=demo, query="face")
    assert twice.summary()["problems"] == {"ambiguous_token": 1}


def test_what_is_wrong_with_all_rows_is_told_before_the_work(demo, tmp_path):
    with pytest.raises(UnknownName, match="no class 'funny'"):
        measured(ROWS, tmp_path / "a", model=demo, methods="decompx", target="funny")
    rows = [{"text": "a film", "label": None}] * 17 + [{"text": "a film", "label": 1}, {"text": "film", "label": 7}]
    found = measured(rows, tmp_path / "b", model=demo, methods="decompx", target="gold")
    assert found.summary()["problems"] == {"bad_input": 17, "unknown_name": 1}


def test_strict_ends_at_the_first_failure_and_keeps_what_was_written(demo, tmp_path):
    rows = [*many(20), {"text": " "}, *many(20)]
    with pytest.raises(BadRow, match=r"item 20 \(id '20'\).*strict.*white space"):
        measured(rows, tmp_path / "out", model=demo, shard_size=8, strict=True)
    expected = measured(rows, tmp_path / "whole", model=demo, shard_size=8)
    shards = sorted(path.name for path in (tmp_path / "out" / "shards").iterdir())
    assert shards == ["00000.parquet", "00001.parquet"]
    written = (tmp_path / "out" / "shards" / "00000.parquet").stat().st_mtime_ns
    found = measured(rows, tmp_path / "out", model=demo, shard_size=8)
    assert_same_content(table_of(found), table_of(expected))
    assert (tmp_path / "out" / "shards" / "00000.parquet").stat().st_mtime_ns == written


def test_truncation_is_asked_for_in_the_thread_that_reads(demo, tmp_path):
    """Another thread's call of the tokenizer must not undo it."""
    rows = [{"text": "good " * 400 + word} for word in ("film", "face", "plot", "line")]
    assert measured(rows, tmp_path / "no", model=demo).summary()["problems"] == {"too_long": 4}
    found = measured(rows, tmp_path / "cut", model=demo, truncate=True, shard_size=1)
    assert found.summary()["results"] == 4
    assert len(found.row(0).tokens) == demo.limit
    measurer = Measurer(demo, Settings(("globenc",), truncate=True))
    assert measurer.tokenizer is not demo.tokenizer


def test_two_runs_into_one_folder_at_the_same_time(demo, tmp_path, batches):
    refused = []

    def second(_):
        batches["fail"] = lambda ids: None
        with pytest.raises(OtherRun, match="Another process is writing"):
            measured(ROWS, tmp_path, model=demo)
        refused.append(time.monotonic())

    batches["fail"] = second
    assert len(measured(ROWS, tmp_path, model=demo)) == len(ROWS)
    assert refused
