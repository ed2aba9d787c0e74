"""contextmix: which tokens made this? Context mixing and token attribution for every Hugging Face Transformer.

The public names are bound when one of them is first used: torch and transformers take seconds to import, and
``contextmix --help`` needs neither.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextmix import plots as plots
    from contextmix.anatomy import Anatomy, BlockAnatomy, NormPlace, Sublayer
    from contextmix.api import aggregate, aggregations, compare, load, measure, methods, metrics, mixing_ratio
    from contextmix.comparison import Comparison
    from contextmix.datasets.results import Run, open_run
    from contextmix.datasets.run import run
    from contextmix.encoderdecoder import EncoderDecoderTrace, source_and_target
    from contextmix.errors import ContextMixError
    from contextmix.evidence.evaluate import evaluate
    from contextmix.evidence.reproduce import reproduce
    from contextmix.exploration import Exploration
    from contextmix.model import CheckReport, TracedModel
    from contextmix.provenance import Provenance, Quantity
    from contextmix.sequence_to_sequence import TracedEncoderDecoder
    from contextmix.tokenmap import TokenMap
    from contextmix.tokens import Tokens
    from contextmix.trace import LayerTrace, Trace

__version__ = "0.1.0"
__all__ = [
    "Anatomy",
    "BlockAnatomy",
    "CheckReport",
    "Comparison",
    "ContextMixError",
    "EncoderDecoderTrace",
    "Exploration",
    "LayerTrace",
    "NormPlace",
    "Provenance",
    "Quantity",
    "Run",
    "Sublayer",
    "TokenMap",
    "Tokens",
    "Trace",
    "TracedEncoderDecoder",
    "TracedModel",
    "aggregate",
    "aggregations",
    "compare",
    "evaluate",
    "load",
    "measure",
    "methods",
    "metrics",
    "mixing_ratio",
    "models",
    "open_run",
    "reproduce",
    "run",
    "source_and_target",
]

_HOMES = (
    "api",
    "model",
    "sequence_to_sequence",
    "encoderdecoder",
    "comparison",
    "exploration",
    "trace",
    "anatomy",
    "tokenmap",
    "provenance",
    "tokens",
    "errors",
)
_APART = {  # these load pyarrow too
    "Run": "datasets.results",
    "open_run": "datasets.results",
    "evaluate": "evidence.evaluate",
    "reproduce": "evidence.reproduce",
    "run": "datasets.run",
}


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module("contextmix.plots")
    if name not in __all__:
        raise AttributeError(f"module 'contextmix' has no attribute {name!r}")
    if name in _APART:
        return getattr(import_module(f"contextmix.{_APART[name]}"), name)
    homes = [import_module(f"contextmix.{home}") for home in _HOMES]
    names = [public for public in __all__ if public not in _APART]
    globals().update({public: next(vars(home)[public] for home in homes if public in vars(home)) for public in names})
    return globals()[name]


class _Package(ModuleType):
    """Keeps public names what they are: the folders methods, aggregations and metrics share theirs with functions.

    Importing a folder would bind it here in place of the function; ``from contextmix.methods import norm`` needs no
    such name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "plots"})
