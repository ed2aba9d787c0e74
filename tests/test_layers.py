"""Who may import whom, read from the source: nothing is imported, so code that never runs in a test is judged too."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# The law. A room imports its own files and rooms on lower floors; imports inside functions and for types count too.
FLOORS = (
    "errors maths",
    "tokens options processes support",
    "results",
    "traces",
    "plugins",
    "methods aggregations metrics statistics tracing",
    "models views",
    "plots datasets",
    "evidence",
    "experiments serve",
    "cli",
    "__main__",
)
INNER_FLOORS = {  # the same inside of large rooms; what lies loose in them stands on top
    "tracing": ("recording", "discovery inputs", "runs"),
    "views": ("drawing", "terminal page figures", "saving", "saved"),
    "datasets": ("reading", "storage", "running"),
}
PLUGINS = {"methods", "aggregations", "metrics", "experiments"}  # their files never import each other
ROOT_ABOVE = {"serve", "cli"}  # these may use the package as its users do; below it would be a circle
ONLY_IN = {
    "transformers": {"tracing", "models"},
    **{name: {"serve"} for name in ("fastapi", "pydantic", "starlette", "uvicorn")},
}
NEVER_IN = {"torch": {"views", "results", "tokens"}}
TAP = "contextmix.tracing.recording.tap"
TAP_ONLY = {"AttentionInterface", "AttentionMaskInterface"}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PICKLE_CALLS = {"torch.load", "torch.save", "read_pickle", "to_pickle"}

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
INNER = {
    outer: {room: floor for floor, rooms in enumerate(floors) for room in rooms.split()}
    for outer, floors in INNER_FLOORS.items()
}


def files() -> dict[str, tuple[str, str]]:
    """Module name → its source and the package that its relative imports start from."""
    found = {}
    for path in sorted((SOURCE / "contextmix").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        package = ".".join(parts[:-1])
        found[package if parts[-1] == "__init__" else ".".join(parts)] = (path.read_text(encoding="utf-8"), package)
    return found


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import, wherever it stands; `from a import b` is a.b, module or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def forbidden(module: str, target: str) -> bool:
    """Whether a file of ours may not import this, ours or not."""
    own, other = module.split(".")[1:], target.split(".")
    if other[0] != "contextmix":
        library = other[0]
        only, never = ONLY_IN.get(library), NEVER_IN.get(library, set())
        return library in PICKLES or own[0] in never or (only is not None and own[0] not in only)
    other = other[1:]
    if not other or other[0] not in FLOOR:
        return own[0] not in ROOT_ABOVE
    if other[0] != own[0]:
        return FLOOR[other[0]] >= FLOOR[own[0]]
    if own[0] in PLUGINS:
        return len(own) > 1
    inner = INNER.get(own[0], {})
    here, there = (inner.get(path[1], len(inner)) if len(path) > 2 else len(inner) for path in (own, other))
    same = own[1:2] == other[1:2]
    return there > here or (there == here < len(inner) and not same)


def breaches(source: str, module: str, package: str | None = None) -> list[str]:
    """What a file breaks, one sentence each."""
    tree, found = ast.parse(source), []
    if module == "contextmix":  # the root names all that is public; it does nothing itself
        return []
    if module.split(".")[1] not in FLOOR:
        return [f"{module} stands on no floor"]
    for line, target in imports(tree, package or module.rpartition(".")[0]):
        if forbidden(module, target):
            found.append(f"{module}:{line} imports {target}")
        found += [f"{module}:{line} pickles: {target}"] * (target in PICKLE_CALLS)
    if module != TAP:  # a name, an attribute or a whole string; prose in docstrings is free
        found += [f"{module} mentions {name}" for name in TAP_ONLY if f"'{name}'" in ast.dump(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and {node.attr, ast.unparse(node)} & PICKLE_CALLS:
            found.append(f"{module}:{node.lineno} pickles: {ast.unparse(node)}")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.append(f"{module}:{node.lineno} pickles: allow_pickle")
    return found


def cycle(sources: Mapping[str, tuple[str, str]]) -> list[str]:
    """A circle of imports, also one that is only postponed, or nothing."""
    graph: dict[str, set[str]] = {module: set() for module in sources}
    for module, (source, package) in sources.items():
        for _, target in imports(ast.parse(source), package):
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


def test_every_room_has_its_floor_and_few_files_lie_loose():
    rooms = {module.split(".")[1] for module in files() if module != "contextmix"}
    assert rooms == FLOOR.keys()
    assert len(FLOORS) <= 12
    loose = [path.stem for path in (SOURCE / "contextmix").glob("*.py") if not path.stem.startswith("__")]
    assert sorted(loose) == ["errors", "plots"]


def test_no_circle_of_imports():
    assert cycle(files()) == []


def test_views_are_named_in_the_root_alone():
    """The one place where results meet views: `contextmix.results.attached`."""
    for module, (source, _) in files().items():
        if module.startswith(("contextmix.results.", "contextmix.traces.", "contextmix.tokens.")):
            texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
            assert not [text for text in texts if isinstance(text, str) and text.startswith("contextmix.views")], module


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("maths.share", "from contextmix.errors import WrongShape"),
        ("maths.share", "from .. import tokens"),
        ("maths.share", "import transformers"),
        ("methods.norm", "from contextmix.tracing.recording.tap import tapped"),
        ("methods.norm", "from transformers.models import bert"),
        ("methods.norm", "from contextmix.methods.attention import METHOD"),
        ("methods.norm", "from .attention import METHOD"),
        ("methods.norm", "from . import attention"),
        ("aggregations.flow", "import contextmix.aggregations.rollout"),
        ("metrics.sufficiency", "from contextmix.models import verbs"),
        ("traces.trace", "from ..tracing.recording import replay"),
        ("traces.trace", "if TYPE_CHECKING:\n    from contextmix.tracing.recording import replay"),
        ("results.token_map", "from contextmix import views"),
        ("results.token_map", "def show():\n    from contextmix import views"),
        ("results.token_map", "import torch"),
        ("tokens.pieces", "def show():\n    from contextmix.results import token_map"),
        ("tracing.recording.record", "from contextmix.methods import norm"),
        ("tracing.recording.record", "from contextmix.tracing.discovery import head"),
        ("tracing.inputs.texts", "from contextmix.tracing.discovery import head"),
        ("tracing.recording.record", "from transformers import AttentionInterface"),
        ("tracing.recording.record", "def f():\n    return transformers.AttentionMaskInterface"),
        ("tracing.recording.record", "getattr(transformers, 'AttentionInterface')"),
        ("views.terminal.maps", "import torch.nn as nn"),
        ("views.terminal.maps", "from contextmix.models import verbs"),
        ("views.terminal.maps", "from contextmix.views.page import pages"),
        ("views.drawing.picture", "from contextmix.views import show"),
        ("datasets.reading.lines", "from contextmix.datasets.running import run"),
        ("plugins.registry", "from contextmix import methods"),
        ("errors", "from contextmix import load"),
        ("support", "from transformers import AutoModel"),
        ("models.verbs", "from contextmix.cli import main"),
        ("models.verbs", "import contextmix"),
        ("evidence.cost", "import contextmix as cm"),
        ("experiments.table1", "from contextmix import cli"),
        ("experiments.table1", "from contextmix.experiments.table2 import EXPERIMENT"),
        ("newcomer", "x = 1"),
        ("results.files", "import pickle"),
        ("results.files", "def f():\n    from joblib import dump"),
        ("results.files", "from torch import load"),
        ("tracing.inputs.checkpoints", "import torch\nstate = torch.load('w.pt', weights_only=True)"),
        ("results.files", "import numpy as np\nnp.load('a.npz', allow_pickle=True)"),
        ("results.files", "frame.to_pickle('a')"),
    ],
)
def test_a_breach_is_seen(module: str, source: str):
    assert len(breaches(source, f"contextmix.{module}")) >= 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("maths.share", "import torch\nfrom . import parts\nfrom contextmix.maths.norms import linear"),
        ("methods.norm", "from contextmix.maths import parts\nfrom ..traces.trace import LayerTrace"),
        ("results.token_map", "from contextmix.results import labels"),
        ("tracing.recording.tap", "from transformers import AttentionInterface, AttentionMaskInterface"),
        ("tracing.runs.rerun", "from contextmix.tracing.discovery import head\nfrom . import written"),
        ("tracing.discovery.blocks", "from contextmix.tracing.recording.record import record\nfrom . import diary"),
        ("views.page.report", "import jinja2\nfrom contextmix.results.token_map import TokenMap\nfrom . import axes"),
        ("views.show", "from contextmix.views.page import pages\nfrom contextmix.views.terminal import maps"),
        ("results.files", "import numpy as np\nnp.load('a.npz', allow_pickle=False)\nsafetensors.torch.load('a')"),
        ("cli.explain", "import contextmix as cm\nfrom contextmix import TokenMap\nfrom contextmix.cli import app"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str):
    assert breaches(source, f"contextmix.{module}") == []


def test_a_circle_is_seen():
    def sources(last: str) -> dict[str, tuple[str, str]]:
        return {"c": ("", "c"), "c.a": ("from .b import x", "c"), "c.b": ("import c.d", "c"), "c.d": (last, "c")}

    assert set(cycle(sources("from c import a"))) == {"c.a", "c.b", "c.d"}
    assert set(cycle(sources("def f():\n    from c import a"))) == {"c.a", "c.b", "c.d"}
    assert cycle(sources("x = 1")) == []
