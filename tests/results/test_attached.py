"""Verbs that are declared in a result and done by a view: each is wired, with the same arguments."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import contextmix as cm
from contextmix.results import attached

HOMES = attached._HOMES
CLASSES = {"TokenMap": cm.TokenMap, "Comparison": cm.Comparison, "Exploration": cm.Exploration}
CLASSES |= {"CheckReport": cm.CheckReport, "Answer": cm.Answer}


def declared() -> set[str]:
    """All verbs that say `@attached`, read from the source."""
    found = set()
    for path in Path(cm.__file__).parent.rglob("*.py"):
        for kind in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(kind, ast.ClassDef):
                found |= {
                    f"{kind.name}.{verb.name}"
                    for verb in kind.body
                    if isinstance(verb, ast.FunctionDef)
                    and any(isinstance(one, ast.Name) and one.id == "attached" for one in verb.decorator_list)
                }
    return found


def test_every_declared_verb_has_a_home_and_every_home_a_verb():
    ours = {name for name, home in HOMES.items() if home.startswith("contextmix.")}
    assert declared() == ours


@pytest.mark.parametrize("name", sorted(declared()))
def test_the_function_takes_what_the_verb_declares(name):
    kind, _, verb = name.partition(".")
    module, _, function = HOMES[name].partition(":")
    own = list(inspect.signature(getattr(CLASSES[kind], verb)).parameters.values())[1:]
    theirs = list(inspect.signature(getattr(import_module(module), function)).parameters.values())[1:]
    inspect.Signature(theirs).bind(*(() for one in own if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD))
    names = {one.name for one in theirs}
    open_end = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in theirs)
    asked = {one.name for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD}
    assert open_end or asked <= names, asked - names
    for one in own:
        other = next((each for each in theirs if each.name == one.name), None)
        if other is not None and other.kind not in (inspect.Parameter.VAR_KEYWORD,):
            assert other.default == one.default, one.name


def test_loading_a_result_loads_no_view():
    import subprocess
    import sys

    script = (
        "import sys; from contextmix.results.token_map import TokenMap;"
        "above = ('contextmix.views', 'torch', 'matplotlib');"
        "print([name for name in sys.modules if name.startswith(above)])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
