"""Options: declared once, and the same in Python, on the command line and at the server."""

import inspect
import re

import pytest
from typer.main import get_command

import contextmix as cm
from contextmix.cli.app import app, flag_of
from contextmix.options import answering, catalogue, data, sets, verbs
from contextmix.options.option import declared, described, filled, parted
from contextmix.options.sets import Contrasting, EvaluateOptions, ReproduceOptions, RunOptions
from contextmix.options.verbs import ExploreOptions
from contextmix.serve.documents import Asked

VERBS = {"run": RunOptions, "evaluate": EvaluateOptions, "reproduce": ReproduceOptions}
NAMED = [
    cm.measure,
    cm.aggregate,
    cm.mixing_ratio,
    cm.compare,
    cm.load,
    cm.TracedModel.explore,
    cm.TracedEncoderDecoder.explore,
    cm.TracedModel.trace,
    cm.TracedModel.explain,
    cm.TracedModel.explain_generation,
    cm.TracedModel.explain_answer,
    cm.TracedModel.ablate,
    cm.TracedModel.compare,
    cm.TracedEncoderDecoder.trace,
    cm.TracedEncoderDecoder.explain,
    cm.TracedEncoderDecoder.explain_generation,
    cm.TracedEncoderDecoder.compare,
]


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_the_options_of_its_dictionary(name):
    own = inspect.signature(getattr(cm, name)).parameters
    for option, one in declared(VERBS[name]).items():
        assert own[option].default == one.option.default
        assert own[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert re.search(rf"^ +{option}: {re.escape(described(one.option))}$", getattr(cm, name).__doc__, re.MULTILINE)
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in own.values())


@pytest.mark.parametrize("function", NAMED, ids=lambda function: function.__qualname__)
def test_what_a_signature_spells_out_is_what_was_declared(function):
    """The default stands in the signature for type checkers, and in the declaration for everyone else."""
    known = declared(inspect.unwrap(function))
    assert known
    for name, one in known.items():
        default = inspect.signature(function).parameters[name].default
        assert default in (one.option.default, inspect.Parameter.empty), name
        assert f"{name}: {one.option.help}" in function.__doc__ or function.__doc__.count(f" {name}: ") == 1


@pytest.mark.parametrize("name", VERBS)
def test_the_command_line_has_a_flag_for_each_with_the_same_words(name):
    flags = {one.name: one for one in get_command(app).commands[name].params}
    for option, one in declared(VERBS[name]).items():
        assert flag_of(option, one.option) in flags[option].opts
        assert flags[option].help.startswith(one.option.help)
        assert "Python" not in flags[option].help


def test_the_server_describes_its_requests_with_the_same_words():
    fields = Asked.model_fields
    for name, kind in {"query": ExploreOptions, "heads": ExploreOptions, "against": Contrasting}.items():
        assert fields[name].description.startswith(declared(kind)[name].option.help)


def test_every_declared_option_is_taken_by_a_verb():
    taken = [
        id(one.option) for kind in {**vars(sets), **vars(verbs)}.values() if isinstance(kind, type) for one in _of(kind)
    ]
    functions = [inspect.unwrap(one) for one in [*NAMED, cm.load]]
    taken += [id(one.option) for function in functions for one in declared(function).values()]
    known = {
        name: one.__metadata__[0]
        for name, one in {**vars(catalogue), **vars(answering), **vars(data)}.items()
        if hasattr(one, "__metadata__")
    }
    cli = {"MethodName", "OwnOptions", "Words"}  # flags of explain and generate
    assert [name for name, option in known.items() if id(option) not in taken and name not in cli] == []


def _of(kind):
    return declared(kind).values() if hasattr(kind, "__total__") else []


def test_help_texts_are_sentences():
    for kind in (*VERBS.values(), ExploreOptions):
        for name, one in declared(kind).items():
            assert re.fullmatch(r"['A-Z].*\.", one.option.help), name


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(
        TypeError, match=r"run\(\) got an unexpected keyword argument 'method'. Did you mean 'methods'\?"
    ):
        cm.run([{"text": "a"}], "out", method="globenc")
    with pytest.raises(TypeError, match=r"evaluate\(\) got an unexpected keyword argument 'xyz'$"):
        filled(EvaluateOptions, {"xyz": 1}, "evaluate")
    with pytest.raises(TypeError, match=r"explore\(\) got an unexpected"):
        cm.load("demo").explore("a film", output="x")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"workers": 0}, "workers=0 is a number of processes, at least 1."),
        ({"workers": "2"}, "workers='2' is a number of processes, at least 1."),
        ({"shard_size": 0.5}, "shard_size=0.5 is a number of rows, at least 1."),
        ({"removal": "drop"}, "removal='drop' is not one of mask, delete, unknown, pad, masked_keys, zero, infill."),
    ],
)
def test_values_are_checked_before_the_work(given, sentence):
    with pytest.raises(cm.ContextMixError, match=re.escape(sentence)):
        filled(RunOptions, given, "run")


def test_what_was_not_given_has_its_default_and_what_was_given_stays():
    found = filled(RunOptions, {"limit": 3, "words": True}, "run")
    assert found.keys() == declared(RunOptions).keys()
    assert (found["limit"], found["words"], found["maps"], found["dtype"]) == (3, True, False, "float32")
    own, rest = parted(verbs.Computing, {"batch_size": 2, "heads": "each"}, "explain")
    assert (own["batch_size"], rest) == (2, {"heads": "each"})
