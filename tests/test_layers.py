"""Who may import whom, read from the source: nothing is imported, so code that never runs in a test is judged too."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
ROOT = ""  # contextmix/__init__.py
NOUNS = {
    "trace",
    "modelrun",
    "perturbation",
    "sensitivity",
    "continuation",
    "encoderdecoder",
    "splitting",
    "tokens",
    "places",
    "media",
    "tokenmap",
    "labels",
    "provenance",
    "comparison",
    "exploration",
    "anatomy",
    "contracts",
    "rationale",
}
BASE = {"maths", "errors", "papers", *NOUNS}
PLUGINS = {"methods", "aggregations", "metrics"}
BELOW_API = {
    "plugins",
    "plan",
    "scoring",
    "statistics",
    "significance",
    "attribution",
    "batch",
    "explaining",
    "exploring",
    "generation",
    "joint",
    "loaded",
    "model",
    "predictor",
    "sequence_to_sequence",
    "storage",
    "plots",
    "support",
    "tracing",
    "views",
    "demo",
    *PLUGINS,
    *BASE,
}
MAY_IMPORT = {  # a folder that lacks its own name: its files never import each other
    "errors": set(),
    "papers": set(),
    "maths": {"maths"},
    "storage": BASE,
    "demo": {"errors"},
    "support": {"errors"},
    **dict.fromkeys(NOUNS, BASE),
    "tokenmap": {"storage", *BASE},
    "exploration": {"storage", *BASE},
    "plugins": {"errors", "contracts"},
    **dict.fromkeys(PLUGINS, BASE),
    "tracing": {"tracing", *BASE},
    "views": {"views", "tokens", "places", "media", "tokenmap", "provenance", "comparison", "errors"}
    | {"exploration", "contracts", "statistics"},  # of the bands of a figure
    "plots": {"views"},
    "plan": {"plugins", *PLUGINS, *BASE},
    "scoring": {"plan", "plugins", "metrics", *BASE},
    "statistics": {"contracts", "errors"},
    "significance": {"statistics", "errors"},
    "attribution": {"plan", "tracing", *BASE},
    "exploring": {"plan", *BASE},
    "generation": {"attribution", "plan", "tracing", *BASE},
    "batch": {"plan", *BASE},
    "loaded": {"attribution", "batch", "plan", "tracing", *BASE},
    "explaining": {"attribution", "batch", "exploring", "loaded", "plan", "tracing", *BASE},
    "model": {"attribution", "explaining", "exploring", "generation", "loaded", "plan", "tracing", *BASE},
    "predictor": {"model", "tracing", *BASE},
    "joint": {"plan", *BASE},
    "sequence_to_sequence": {"loaded", "model", "exploring", "joint", "plan", "tracing", *BASE},
    "api": BELOW_API,
    ROOT: {"api", "datasets", "evidence", *BELOW_API},
    "evidence": {ROOT, "api", "datasets", "evidence", *BELOW_API},
    "experiments": {ROOT, "api", "datasets", "evidence", *BELOW_API},
    "datasets": {ROOT, "api", "datasets", *BELOW_API},
    "serve": {ROOT, "api", "serve", *BELOW_API},
    "cli": {ROOT, "api", "cli", "datasets", "evidence", "experiments", "serve", *BELOW_API},
    "__main__": {"cli"},
}
WHEN_CALLED = {  # show(), save(), plot() and the like look for a view when called
    ("tokenmap", "views"),
    ("comparison", "views"),
    ("exploration", "views"),
}
ONLY_IN = {
    "transformers": {"tracing", "attribution", "generation", "loaded"},
    "torch": MAY_IMPORT.keys() - {"views"},
    **{name: {"serve"} for name in ("fastapi", "pydantic", "starlette", "uvicorn")},
}
TAP_ONLY = {"AttentionInterface", "AttentionMaskInterface"}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PICKLE_CALLS = {"torch.load", "torch.save", "read_pickle", "to_pickle"}


def imports(tree: ast.AST, when: str = "top") -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import statement and when it happens: at the "top", when "called", or for "types" only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, when
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node, "called")
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node, "types")
        else:
            yield from imports(node, when)


def targets(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    """Absolute dotted names; for `from a import b` that is a.b, whether b is a module or not."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
    return [f"{origin}.{alias.name}" for alias in node.names]


def area(dotted: str) -> str:
    """The file or folder directly under contextmix; ROOT for a name that contextmix/__init__.py offers."""
    return next((part for part in dotted.split(".")[1:2] if part in MAY_IMPORT), ROOT)


def breaches(source: str, module: str, package: str | None = None) -> list[str]:
    """What a file breaks, one sentence each."""
    own, tree, found = ".".join(module.split(".")[1:2]), ast.parse(source), []
    if own not in MAY_IMPORT:
        return [f"{module} has no place in MAY_IMPORT"]
    for node, when in imports(tree):
        for target in targets(node, package or module.rpartition(".")[0]):
            library = target.split(".")[0]
            allowed = library != "contextmix" or area(target) in MAY_IMPORT[own]
            allowed |= when == "called" and (own, area(target)) in WHEN_CALLED
            if not allowed or own not in ONLY_IN.get(library, {own}) or library in PICKLES:
                found.append(f"{module}:{node.lineno} imports {target}")
            found += [f"{module}:{node.lineno} pickles: {target}"] * (target in PICKLE_CALLS)
    if module != "contextmix.tracing.tap":  # a name, an attribute or a whole string; prose in docstrings is free
        found += [f"{module} mentions {name}" for name in TAP_ONLY if f"'{name}'" in ast.dump(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and {node.attr, ast.unparse(node)} & PICKLE_CALLS:
            found.append(f"{module}:{node.lineno} pickles: {ast.unparse(node)}")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.append(f"{module}:{node.lineno} pickles: allow_pickle")
    return found


def files() -> dict[str, tuple[str, str]]:
    """Module name → its source and the package that its relative imports start from."""
    found = {}
    for path in sorted((SOURCE / "contextmix").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        package = ".".join(parts[:-1])
        found[package if parts[-1] == "__init__" else ".".join(parts)] = (path.read_text(encoding="utf-8"), package)
    return found


def cycle(sources: dict[str, tuple[str, str]]) -> list[str]:
    """A circle of imports that happen when the package loads, or nothing."""
    graph = {module: set() for module in sources}
    for module, (source, package) in sources.items():
        for node, when in imports(ast.parse(source)):
            for target in targets(node, package) if when == "top" else []:
                origin = target if target in sources else target.rpartition(".")[0]
                graph[module] |= {origin} & sources.keys() - {module}
    try:
        return list(TopologicalSorter(graph).static_order()) and []
    except CycleError as error:
        return error.args[1]


def test_the_house_keeps_its_layers():
    sources = files()
    assert {"contextmix.errors", "contextmix.maths"} <= sources.keys()  # reading nothing would pass everything
    assert [line for module, (source, package) in sources.items() for line in breaches(source, module, package)] == []


def test_no_circle_of_imports():
    assert cycle(files()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("maths.share", "from contextmix.errors import WrongShape"),
        ("maths.share", "from .. import tokens"),
        ("maths.share", "import transformers"),
        ("methods.norm", "from contextmix.tracing.tap import tapped"),
        ("methods.norm", "from transformers.models import bert"),
        ("methods.norm", "from contextmix.methods.attention import METHOD"),
        ("methods.norm", "from .attention import METHOD"),
        ("methods.norm", "from . import attention"),
        ("aggregations.flow", "import contextmix.aggregations.rollout"),
        ("metrics.sufficiency", "from contextmix import api"),
        ("trace", "from .tracing import replay"),
        ("trace", "if TYPE_CHECKING:\n    from contextmix.tracing import replay"),
        ("tokenmap", "from contextmix import views"),
        ("tokens", "def show():\n    from contextmix import views"),
        ("tracing.record", "from contextmix.methods import norm"),
        ("tracing.record", "from transformers import AttentionInterface"),
        ("tracing.record", "def f():\n    return transformers.AttentionMaskInterface"),
        ("tracing.record", "getattr(transformers, 'AttentionInterface')"),
        ("views.terminal", "import torch.nn as nn"),
        ("views.terminal", "from contextmix.trace import Trace"),
        ("plugins", "from contextmix import methods"),
        ("loaded", "from contextmix.explaining import explained"),
        ("explaining", "from contextmix.model import TracedModel"),
        ("model", "import transformers"),
        ("errors", "from contextmix import load"),
        ("demo", "from transformers import AutoModel"),
        ("api", "from contextmix.cli import main"),
        ("experiments.table1", "from contextmix import cli"),
        ("experiments.table1", "from contextmix.experiments.table2 import EXPERIMENT"),
        ("newcomer", "x = 1"),
        ("storage", "import pickle"),
        ("storage", "def f():\n    from joblib import dump"),
        ("storage", "from torch import load"),
        ("tracing.load", "import torch\nstate = torch.load('w.pt', weights_only=True)"),
        ("storage", "import numpy as np\nnp.load('a.npz', allow_pickle=True)"),
        ("storage", "frame.to_pickle('a')"),
    ],
)
def test_a_breach_is_seen(module: str, source: str):
    assert len(breaches(source, f"contextmix.{module}")) >= 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("maths.share", "import torch\nfrom . import parts\nfrom contextmix.maths.norms import linear"),
        ("methods.norm", "from contextmix.maths import parts\nfrom ..trace import LayerTrace"),
        ("tokenmap", "from contextmix import storage\ndef show():\n    from .views import terminal"),
        ("tracing.tap", "from transformers import AttentionInterface, AttentionMaskInterface"),
        ("views.report", "import jinja2\nfrom contextmix.tokenmap import TokenMap\nfrom .colours import scale"),
        ("storage", "import numpy as np\nnp.load('a.npz', allow_pickle=False)\nsafetensors.torch.load('a')"),
        ("cli", "import contextmix as cm\nfrom contextmix import TokenMap, api, views"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str):
    assert breaches(source, f"contextmix.{module}") == []


def test_a_circle_is_seen():
    def sources(last: str) -> dict[str, tuple[str, str]]:
        return {"c": ("", "c"), "c.a": ("from .b import x", "c"), "c.b": ("import c.d", "c"), "c.d": (last, "c")}

    assert set(cycle(sources("from c import a"))) == {"c.a", "c.b", "c.d"}
    assert cycle(sources("def f():\n    from c import a")) == []
