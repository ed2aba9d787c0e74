"""contextmix: see which input tokens a Transformer's output is built from.

The public names are bound when one of them is first used: torch and transformers take seconds to import, and
``contextmix --help`` needs neither.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from contextmix.results.attached import attach

if TYPE_CHECKING:
    from contextmix import plots as plots
    from contextmix.datasets.running.run import run
    from contextmix.datasets.storage.results import Run, open_run
    from contextmix.errors import ContextMixError
    from contextmix.evidence.evaluate import evaluate
    from contextmix.evidence.fit import fit
    from contextmix.evidence.reproduce import reproduce
    from contextmix.models.check import CheckReport
    from contextmix.models.one_call import compare, explain
    from contextmix.models.tables import aggregations, methods, metrics, models
    from contextmix.models.traced_encoder_decoder import TracedEncoderDecoder
    from contextmix.models.traced_model import TracedModel
    from contextmix.models.traced_towers import TracedTowers
    from contextmix.models.verbs import aggregate, load, measure, mixing_ratio
    from contextmix.results.answer import Answer
    from contextmix.results.comparison import Comparison
    from contextmix.results.exploration import Exploration
    from contextmix.results.provenance import Provenance, Quantity
    from contextmix.results.scores import scores
    from contextmix.results.token_map import TokenMap
    from contextmix.tokens.pieces import Tokens
    from contextmix.traces.anatomy import Anatomy, BlockAnatomy, Sublayer
    from contextmix.traces.encoder_decoder import EncoderDecoderTrace, source_and_target
    from contextmix.traces.places import NormPlace
    from contextmix.traces.trace import LayerTrace, Trace

__version__ = "0.1.0"
__all__ = [
    "Anatomy",
    "Answer",
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
    "TracedTowers",
    "aggregate",
    "aggregations",
    "compare",
    "evaluate",
    "explain",
    "fit",
    "load",
    "measure",
    "methods",
    "metrics",
    "mixing_ratio",
    "models",
    "open_run",
    "reproduce",
    "run",
    "scores",
    "source_and_target",
]

_HOMES = (
    "models.verbs",
    "models.one_call",
    "models.tables",
    "models.check",
    "models.traced_model",
    "models.traced_encoder_decoder",
    "models.traced_towers",
    "traces.encoder_decoder",
    "results.answer",
    "results.comparison",
    "results.exploration",
    "traces.trace",
    "traces.checks",
    "traces.anatomy",
    "traces.places",
    "traces.mixing",
    "results.token_map",
    "results.provenance",
    "results.scores",
    "tokens.pieces",
    "errors",
)
_APART = {  # these load pyarrow too
    "Run": "datasets.storage.results",
    "open_run": "datasets.storage.results",
    "evaluate": "evidence.evaluate",
    "fit": "evidence.fit",
    "reproduce": "evidence.reproduce",
    "run": "datasets.running.run",
}

# Results know no view. This table is where the two meet; a view is loaded when it is first used.
attach(
    {
        "Answer.show": "contextmix.views.show:show_answer",
        "Answer._save_page": "contextmix.views.page.answers:save",
        "Answer._repr_html_": "contextmix.views.page.answers:still",
        "TokenMap.show": "contextmix.views.show:show_map",
        "TokenMap.plot": "contextmix.views.figures.maps:plot",
        "TokenMap.overlay": "contextmix.views.figures.overlay:overlay",
        "TokenMap.to_latex": "contextmix.views.figures.latex:to_latex",
        "TokenMap._save_drawn": "contextmix.views.saving:save",
        "TokenMap._repr_html_": "contextmix.views.page.fragment:preview",
        "Comparison.show": "contextmix.views.terminal.comparison:show",
        "CheckReport._repr_html_": "contextmix.views.page.tables:proof",
        "Comparison._repr_html_": "contextmix.views.page.tables:comparison",
        "Comparison.save": "contextmix.views.page.pages:save_comparison",
        "Exploration.show": "contextmix.views.show:show_exploration",
        "Exploration.save": "contextmix.views.page.pages:save",
        "Exploration.widget": "contextmix.views.page.pages:widget",
        "Exploration.to_exhibit": "contextmix.views.page.exhibit:explored",
        "Exploration._repr_html_": "contextmix.views.page.pages:still",
        "Exploration._repr_mimebundle_": "contextmix.views.page.pages:mimebundle",
    }
)


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
    return [*__all__, "__version__", "plots"]
