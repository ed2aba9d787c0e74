"""No exception of another class leaves the public verbs: a `ContextMixError`, or a `TypeError` for a wrong call.

Every verb is asked with broken values in the place of good ones. `CONTEXTMIX_DRAWS=500` tries so many per verb, each
time others; ``-k TokenMap.row`` does it for some.
"""

import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib import pyplot
from tests.robustness.samples import FILM, model, samples
from tests.robustness.verbs import ALWAYS, asked, calls, good_call, owners, placed, required, verbs
from tests.tracing.tiny import one_thread

import contextmix as cm

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a failure, with its tensors
HUNTING = "CONTEXTMIX_DRAWS" in os.environ
DRAWS = int(os.environ.get("CONTEXTMIX_DRAWS", "3"))
MANY = int(os.environ.get("CONTEXTMIX_DRAWS", "40"))
VERBS = verbs()
NEVER = {f"TracedEncoderDecoder.{name}" for name in ("ablate", "attribute", "attribute_all", "explain_answer")}
NEVER |= {f"{kind}.image_tower" for kind in ("TracedModel", "TracedEncoderDecoder", "TracedTowers")}  # none has images
NEVER |= {f"TracedTowers.{name}" for name in ("ablate", "attribute", "attribute_all", "explain_answer")}
NEVER |= {"TracedTowers.explain_generation"}
"""Verbs that one kind of model refuses whatever it is asked."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the tests are, as texts are taken for names of files, too."""
    monkeypatch.chdir(tmp_path)
    with one_thread():
        yield tmp_path
    pyplot.close("all")


def tried(name: str, draws: int, folder: Path) -> None:
    """Ask a verb so many times."""
    verb = VERBS[name]

    @settings(max_examples=draws, derandomize=not HUNTING, suppress_health_check=list(HealthCheck), database=None)
    @given(owners(verb), calls(verb))
    def once(owner, arguments):
        own = Path(tempfile.mkdtemp(dir=folder))
        asked(verb.call, owner, {name: placed(value, own) for name, value in arguments.items()})

    once()


@pytest.mark.parametrize("name", VERBS)
def test_no_foreign_exception_leaves_a_verb(name: str, folder: Path):
    tried(name, DRAWS, folder)


# Rows are read by generators. One that a caught exception holds in a cycle is closed by the collector, which may come
# upon its file first and warn of it; a file that nothing closes would be seen by the draws of `make test`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.campaign
@pytest.mark.parametrize("name", VERBS)
def test_no_foreign_exception_leaves_a_verb_in_many_draws(name: str, folder: Path):
    tried(name, MANY, folder)


def test_every_public_name_is_tried():
    told = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"auto(?:function|class):: contextmix\.(\w+)", told))
    assert documented
    assert documented | set(cm.__all__) | {f"plots.{name}" for name in cm.plots.__all__} <= set(VERBS)


def test_every_verb_has_a_good_value_for_each_argument():
    """Whoever adds a verb or an argument says in samples.py what it takes, or broken values never get past it."""
    lacking = [f"{name}.{one}" for name, verb in VERBS.items() for one in required(verb) if not verb.good(one)]
    assert lacking == []


@pytest.mark.parametrize("name", [name for name in VERBS if name not in NEVER])
def test_good_values_go_through(name: str, folder: Path):
    """Or the broken ones would only ever be refused for the company that they keep."""
    verb = VERBS[name]
    needed = required(verb)
    choices = itertools.product(*(verb.good(one)[:12] for one in needed))
    things = [None] if verb.owner is None else samples(verb.owner)
    reasons = []
    for number, (owner, values) in enumerate(itertools.product(things, itertools.islice(choices, 60))):
        own = folder / str(number)
        own.mkdir()
        given = {**ALWAYS.get(name, {}), **dict(zip(needed, values, strict=True))}
        try:
            verb.call(owner, {one: placed(value, own) for one, value in given.items()})
        except (cm.ContextMixError, TypeError) as reason:
            reasons.append(reason)
        else:
            return
    pytest.fail(f"{name} refuses all good values: {reasons[:3]}")


# The test itself can fail ---------------------------------------------------------------------------------------------


def test_foreign_exceptions_are_seen():
    with pytest.raises(ZeroDivisionError):
        asked(lambda: 1 / 0)
    with pytest.raises(TypeError, match="JSON"):  # out of the depths of a library
        asked(lambda: __import__("json").dumps(object()))
    with pytest.raises(pytest.fail.Exception, match="a refusal says nothing"):
        asked(lambda: (_ for _ in ()).throw(cm.ContextMixError(" ")))


def test_refusals_in_our_own_words_pass():
    assert asked(cm.load("demo").explain) is None  # Python itself: the source is missing
    assert asked(cm.load, "no such model") is None
    assert asked(cm.Tokens, ("a",)) == cm.Tokens(("a",))


def test_what_the_users_own_code_raises_goes_through():
    class Theirs(Exception):
        pass

    def progress(done: float, what: str) -> None:
        raise Theirs

    with pytest.raises(Theirs):
        asked(model("demo").explore, FILM, ["globenc"], progress=progress)


def test_good_call_names_every_required_argument():
    assert set(good_call(VERBS["aggregate"])) == {"token_map", "aggregation"}
