"""What was found by broken values, one example of each kind, so that none comes back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.robustness.samples import FILM, ROWS, model, samples
from tests.robustness.values import LOOP

import contextmix as cm
from contextmix.errors import (
    BadFile,
    BadInput,
    BadOption,
    ModelNotFound,
    OutputUnwritable,
    UnknownName,
    UnknownPosition,
    UnknownToken,
    UnsupportedModel,
    WrongShape,
)

ARRAY = np.array([0, 1])
EMPTY = torch.empty(2, device="meta")


def demo() -> Any:
    return model("demo")


def bart() -> Any:
    return model("bart")


def told() -> Any:
    return model("chatty")


def answer() -> Any:
    return samples(cm.Answer)[0]


def attention() -> Any:
    return samples(cm.TokenMap)[0]


def row() -> Any:
    return samples(cm.TokenMap)[2]


KINDS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # Model inputs
    "ids that are fractions": (lambda: demo().explain({"input_ids": [[1.5]]}), BadInput, "input_ids are whole numbers"),
    "ids that are True": (lambda: demo().explore({"input_ids": [[True]]}), BadInput, "these are torch.bool"),
    "ids for two stacks": (lambda: bart().explain({"input_ids": torch.tensor([[True]])}), BadInput, "whole numbers"),
    "written ids": (lambda: bart().explain(FILM, output=torch.tensor([True, True])), BadInput, "whole numbers"),
    "ids without numbers": (
        lambda: demo().explain({"input_ids": torch.empty(1, 2, dtype=torch.long, device="meta")}),
        BadInput,
        "a tensor without numbers in it",
    ),
    "sparse ids": (lambda: demo().explain({"input_ids": torch.eye(2).long().to_sparse()}), BadInput, "dense tensors"),
    "types that are True": (
        lambda: demo().explain({"input_ids": [[5]], "token_type_ids": [[True]]}),
        BadInput,
        "token_type_ids are whole numbers",
    ),
    "an input without a name": (
        lambda: demo().explain({"input_ids": [5], None: 1}),
        BadInput,
        "does not read",
    ),
    "a list that contains itself": (lambda: demo().trace(LOOP), BadInput, "contains itself"),
    "a flag that is an array": (lambda: demo().encode(FILM, truncate=ARRAY), BadOption, "must be True or False"),
    "a flag without a number": (lambda: demo().encode(FILM, truncate=EMPTY[0]), BadOption, "must be True or False"),
    "an option of a method": (lambda: demo().explain(FILM, "norm", heads=ARRAY), BadOption, "heads=.* is not allowed"),
    "a number of a method": (
        lambda: demo().explain(FILM, "integrated_gradients", steps="many"),
        BadOption,
        "must be a whole number",
    ),
    "written words as ids": (
        lambda: model("demo-decoder").explain_generation(FILM, continuation={"many"}),
        BadInput,
        "neither a text nor a list",
    ),
    "written fractions": (
        lambda: model("demo-decoder").explain_generation(FILM, continuation=[1.5]),
        BadInput,
        "neither a text nor a list",
    ),
    "methods without a list": (lambda: demo().explore(FILM, torch.tensor(True)), BadOption, "list of different names"),
    "a batch of nothing": (
        lambda: demo().check({"input_ids": torch.zeros(0, 2, dtype=torch.long)}),
        BadInput,
        "hold no sequence",
    ),
    "a batch of nothing for two stacks": (
        lambda: bart().check({"input_ids": torch.zeros(0, 2, dtype=torch.long)}),
        BadInput,
        "hold no sequence",
    ),
    # Loading
    "a device that is no device": (lambda: cm.load("demo", device={}), BadOption, "cannot be put on the device"),
    "a device beyond all numbers": (lambda: cm.load("demo", device=2**70), BadOption, "cannot be put on the device"),
    "the home of nobody": (lambda: cm.load("~nobody-here/x"), ModelNotFound, "no model"),
    "a tokenizer at nobody's home": (lambda: cm.load("demo", "~nobody-here/x"), ModelNotFound, "no tokenizer"),
    "a tokenizer too long for a name": (lambda: cm.load("demo", "a" * 3000), ModelNotFound, "no tokenizer"),
    "a model that is none": (lambda: cm.TracedModel(3, None, name="x"), TypeError, "model must be PreTrainedModel"),
    # What runs many inputs
    "no plans": (lambda: demo().measure_batch({"input_ids": torch.tensor([[5]])}, "norm"), TypeError, "plans must be"),
    "nothing to run": (lambda: demo().measure_batch({}, []), BadInput, "model inputs are empty"),
    "half of a run of two stacks": (
        lambda: bart().measure_batch({"input_ids": torch.tensor([[5]])}, []),
        BadInput,
        "needs decoder_input_ids",
    ),
    "a score of two stacks": (
        lambda: bart().attribute(bart().encode(FILM)[0], None, None, None),
        BadOption,
        "does not explain scores",
    ),
    "a sequence that is not there": (
        lambda: demo().prediction(demo().model(torch.tensor([[5]])), 3, cm.Tokens(("a",))),
        UnknownPosition,
        "no sequence 3",
    ),
    "types alone": (
        lambda: demo().measure_batch({"token_type_ids": torch.tensor([[0]])}, []),
        BadInput,
        "no input_ids",
    ),
    "a run of one number": (lambda: demo().running(None, torch.tensor(1)).__enter__(), TypeError, "tensors must be"),
    # Results
    "one piece": (lambda: cm.Tokens(torch.tensor(1)), TypeError, "one entry per token"),
    "pieces without numbers": (lambda: cm.Tokens(("a",) * 2, special=EMPTY), TypeError, "cannot be Tensor"),
    "a choice of bytes": (lambda: row().derive(selected=(b"bytes", b"bytes")), TypeError, "selected must be Mapping"),
    "axes without names": (lambda: row().derive(dims=ARRAY), TypeError, "dims must be tuple or list"),
    "a document that is an array": (lambda: row().to_latex(document=ARRAY), TypeError, "document must be bool"),
    "overwriting by an array": (lambda: row().save("x.json", ARRAY), TypeError, "overwrite must be bool"),
    "an image too long for a name": (lambda: samples(cm.TokenMap)[10].overlay("a" * 3000), BadInput, "no image file"),
    "a position that is an array": (lambda: cm.Tokens(("a",)).position(ARRAY), TypeError, "must be a whole number"),
    "a part that is no slice": (lambda: cm.Tokens(("a",)).part(0), TypeError, "rows must be slice"),
    "tokens that are no mapping": (lambda: cm.Tokens.from_dict(ARRAY), BadFile, "a mapping of fields"),
    "a quantity that is an array": (lambda: cm.Quantity(ARRAY), UnknownName, "no quantity"),
    "a quantity that does not exist": (lambda: cm.Quantity("sahre"), UnknownName, "Did you mean 'share'"),
    "a document with an array": (
        lambda: cm.TokenMap.from_dict({**row().to_dict(), "quantity": ARRAY}),
        BadFile,
        "field 'quantity'",
    ),
    "an array as schema": (
        lambda: cm.TokenMap.from_dict({**row().to_dict(), "schema": ARRAY}),
        BadFile,
        "schema",
    ),
    "a note without a number": (lambda: cm.Provenance("x").noting(rank=EMPTY), BadInput, "must be JSON values"),
    "a method that is no text": (lambda: cm.Provenance(3), TypeError, "method must be str"),
    "a mapping where entries are read": (
        lambda: cm.Anatomy({"a": samples(cm.BlockAnatomy)[0]}),
        TypeError,
        "must be tuple",
    ),
    "so many tokens": (lambda: row().top(ARRAY), TypeError, "top: k must be a whole number"),
    "a comparison of nothing": (lambda: cm.Comparison({}), BadOption, "comparison is empty"),
    "other lengths": (
        lambda: cm.Comparison({"a": row(), "b": attention()}),
        WrongShape,
        "over the same tokens",
    ),
    "a comparison of numbers": (lambda: cm.Comparison({"a": 1}), TypeError, "must be TokenMap"),
    "an exploration of numbers": (lambda: cm.Exploration(ARRAY), TypeError, "maps must be Mapping"),
    "a name that is no text": (lambda: samples(cm.Exploration)[0].row(7), TypeError, "method must be str"),
    "bits that are an array": (lambda: samples(cm.Exploration)[0].to_exhibit(ARRAY), BadOption, "8, 16, or None"),
    "a sequence of a batch of none": (lambda: samples(cm.LayerTrace)[0][0], WrongShape, "recorded of one alone"),
    "a sequence beyond the batch": (lambda: samples(cm.LayerTrace)[1][9], UnknownPosition, "no sequence 9"),
    "an anatomy of texts": (lambda: cm.Anatomy(("a",)), TypeError, "must be BlockAnatomy"),
    "a block of texts": (lambda: cm.BlockAnatomy("a", "b", "c"), TypeError, "attention must be Sublayer"),
    "a trace of nothing": (lambda: cm.Trace(1, 2, 3, 4), TypeError, "tokens must be Tokens"),
    "a table by an array": (lambda: cm.models(status=ARRAY), UnknownName, "no status"),
    "a table by a number": (lambda: cm.models(7), UnknownName, "no model type 7"),
    "a question that is an array": (lambda: told().usual_method(mixing=ARRAY), TypeError, "mixing must be bool"),
    # Answers
    "an answer of a text": (lambda: told().ablate("a film"), TypeError, "answer must be Answer"),
    "an answer of two stacks": (lambda: bart().ablate(answer()), UnsupportedModel, "is an encoder–decoder"),
    "masks without end": (lambda: told().ablate(answer(), masks=10**9), BadOption, "from 1 to 4096"),
    "a context that is a mapping": (lambda: told().explain_answer(FILM, {"a": 1}), BadInput, "A context is a text"),
    "a context that is an array": (lambda: told().explain_answer(FILM, ARRAY), BadInput, "A span is a pair"),
    "a role that is an array": (lambda: told().explain([{"role": ARRAY, "content": "a"}]), BadInput, "role of a chat"),
    "hops by an array": (lambda: answer().by(hops=ARRAY), BadOption, "is passed on 0, 1, 2"),
    "thoughts by an array": (lambda: told().explain_answer(FILM, thoughts=EMPTY), BadOption, "not tell thoughts"),
    "a cut by an array": (lambda: answer().by(EMPTY), BadOption, "A text is not cut by"),
    "a text by an array": (lambda: answer().by([(ARRAY, 0, 3)]), BadInput, "does not say which"),
    "a unit that is an array": (lambda: answer().top(ARRAY), TypeError, "must be a whole number"),
    "a threshold that is an array": (lambda: answer().cite(ARRAY), TypeError, "threshold must be int or float"),
    "no texts in an answer": (
        lambda: cm.Answer.from_dict({**answer().to_dict(), "passages": [], "sources_by": [[0, 0, 3]]}),
        BadFile,
        "hold no section",
    ),
    # Figures
    "axes that are none": (lambda: cm.plots.bars(row(), ax=[]), TypeError, "ax must be Axes"),
    "a figure of a text": (lambda: cm.plots.layers("a"), TypeError, "token_map must be TokenMap"),
    "a figure saved of nothing": (lambda: cm.plots.save(3, "x.pdf"), TypeError, "drawn must be Artist"),
    "a table of words": (lambda: cm.plots.by_layer({"a": [["b"]]}), WrongShape, "no table of numbers"),
    "a grid of everything": (lambda: cm.plots.grid({"a": row(), "b": 3}), TypeError, "must be TokenMap"),
    "a width of letters": (lambda: cm.plots.column([3]).__enter__(), TypeError, "width must be str or Real"),
    "two confidences": (
        lambda: cm.plots.by_layer({"a": [[0.1]]}, confidence=ARRAY),
        BadOption,
        "between 0 and 1",
    ),
    # Data sets
    "a name too long for a file": (lambda: cm.run("a" * 3000, "out"), BadFile, "too long"),
    "a name that is no text of a file": (
        lambda: cm.run(("\ud800", "\ud800"), "out"),
        BadFile,
        "cannot be searched for",
    ),
    "a method that is an array": (lambda: cm.run(ROWS, "out", methods=[ARRAY]), BadOption, "named by a text"),
    "a folder too long for a name": (lambda: cm.run(ROWS, "a" * 3000, progress=False), OutputUnwritable, "too long"),
    "a study that is a number": (lambda: cm.reproduce(3, "out"), UnknownName, "no study 3"),
    "no experiment": (lambda: cm.reproduce("globenc", "out", only=[]), BadOption, "names no experiment"),
    "a run at nobody's home": (lambda: cm.open_run("~nobody-here/x"), BadFile, "is not the folder of a run"),
    "a method of a run": (lambda: samples(cm.Run)[0].row(0, 3), TypeError, "method must be str"),
    "a row of a run": (lambda: samples(cm.Run)[0].row(0.5, "globenc"), TypeError, "must be a whole number"),
    "columns of a run": (lambda: samples(cm.Run)[0].to_pandas(ARRAY), TypeError, "columns must be"),
    # Suggestions
    "not close": (
        lambda: cm.Tokens(("norm",)).position("random"),
        UnknownToken,
        r"'random'\. Its tokens",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kept(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    call, expected, sentence = KINDS[kind]
    with pytest.raises(expected, match=sentence) as refusal:
        call()
    assert type(refusal.value) is expected


def test_whole_numbers_of_any_kind_are_ids():
    ids = np.array([[5, 6]])
    expected = demo().explain({"input_ids": ids})[0].values
    for kind in (np.uint16, np.int8, np.uint64):
        np.testing.assert_array_equal(demo().explain({"input_ids": ids.astype(kind)})[0].values, expected)


def test_more_panels_in_a_line_than_there_are_draw_what_there_is():
    assert len(cm.plots.grid(attention(), across=10**9)) == 3


def test_damaged_runs_can_be_looked_at():
    for run in samples(cm.Run):
        assert re.fullmatch(r"<Run .*run': (globenc, occlusion|evidence) of .*rows.*>", repr(run))


def test_traces_are_equal_to_themselves_alone():
    """Their tensors have no truth, so Python could not say whether two are alike."""
    one, other = samples(cm.Trace)[:2]
    assert one == one
    assert one != other
    assert one.layers[0] != one.layers[1]
