"""One page per method, aggregation and metric, from the constant and the docstrings of its file."""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from scripts.docs.docstrings import code, markdown, options, sections
from scripts.docs.pictures import aggregated, picture
from scripts.docs.texts import advice, opening, text_of
from scripts.docs.worked import worked

from contextmix.plugins.citing import bibliography
from contextmix.plugins.contracts import Method, ModelMethod, Recipe, options_of
from contextmix.plugins.papers import Paper
from contextmix.plugins.plan import AGGREGATIONS, METHODS
from contextmix.plugins.scoring import METRICS
from contextmix.plugins.selection import quantity_of

KINDS: dict[type, str] = {
    Method: "a mixing map: one matrix per layer",
    ModelMethod: "an attribution of one output of the whole model",
    Recipe: "a mixing map and an aggregation under one name",
}
AGAINST = {
    "model": "the model, which is run on texts with tokens taken away",
    "reference": "scores of another method or model",
    "rationale": "the tokens that people marked",
}
STEPS = {
    "attention": "what attention moves in each of the two steps, without the residual stream",
    "stream": "the residual stream: a cross map has the residual as its last column",
    "output": "the output of the whole block, in both steps",
}
Pages = dict[str, bytes]


def method_pages(pictures: bool) -> Pages:
    """Every method with a picture, and the table of all."""
    pages: Pages = {}
    for name, one in METHODS.items():
        data, caption = picture(one, pictures)
        pages[f"methods/images/{name}.png"] = data
        facts = {"formula": code(one.formula), "paper": paper(one.paper), "is": KINDS[type(one)], **_measures(one)}
        written = text_of(name)
        parts = [
            f"# {one.title or name} (`{name}`)",
            opening(written) if written else "",
            worked(one) if pictures else "",
            f"## On a sentence\n\n![{caption}](images/{name}.png)\n\n{caption}",
            advice(written) if written else "",
            f"## In short\n\n{markdown(_module('methods', name).splitlines()[0])}\n\n{table(facts)}",
            _prose("methods", name),
        ]
        if isinstance(one, Recipe):
            parts.append(
                f"The same by two names: `{one.method}+{one.aggregation}`; see [`{one.method}`]({one.method}.md) and "
                f"[`{one.aggregation}`](../aggregations/{one.aggregation}.md)."
            )
        else:
            parts.append(_function(one.measure if isinstance(one, Method) else one.attribute))
        parts.append(f"## Cite\n\n`contextmix cite {name}` prints:\n\n```text\n{bibliography([name])}\n```")
        parts.append(f'## Use\n\n```python\nresult = contextmix.load("demo").explain("a good film", {name!r})\n```')
        pages[f"methods/{name}.md"] = _page(parts)
    lines = {name: (one.formula, one.paper, one.cost) for name, one in METHODS.items()}
    pages["methods/index.md"] = _index("Methods", "methods", lines)
    return pages


def aggregation_pages(pictures: bool) -> Pages:
    """Every way from one map per layer to one attribution."""
    pages: Pages = {}
    for name, one in AGGREGATIONS.items():
        data, caption = aggregated(
            name, "norm_encoder" if "norm" in one.accepts else "attention_fixed_residual", pictures
        )
        pages[f"aggregations/images/{name}.png"] = data
        kinds = ", ".join(code(str(kind)) for kind in sorted(one.accepts))
        facts = {"formula": code(one.formula), "paper": paper(one.paper), "accepts": kinds, "cost": markdown(one.cost)}
        parts = [_head(name, "aggregations"), table(facts), f"![{caption}](images/{name}.png)\n\n{caption}"]
        pages[f"aggregations/{name}.md"] = _page([*parts, _prose("aggregations", name), _function(one.combine)])
    lines = {name: (one.formula, one.paper, one.cost) for name, one in AGGREGATIONS.items()}
    pages["aggregations/index.md"] = _index("Aggregations", "aggregations", lines)
    return pages


def metric_pages() -> Pages:
    """Every number that says how good scores are."""
    pages: Pages = {}
    for name, one in METRICS.items():
        low, high = ("∞" if bound is None else f"{bound:g}" for bound in one.bounds)
        facts = {
            "formula": code(one.formula),
            "paper": paper(one.paper),
            "compares with": AGAINST[one.against],
            "better": "higher" if one.higher_is_better else "lower",
            "from, to": f"{'−' if low == '∞' else ''}{low} to {high}",
            "cost": markdown(one.cost),
        }
        parts = [_head(name, "metrics"), table(facts), _prose("metrics", name), _function(one.score)]
        pages[f"metrics/{name}.md"] = _page(parts)
    lines = {name: (one.formula, one.paper, one.cost) for name, one in METRICS.items()}
    pages["metrics/index.md"] = _index("Metrics", "metrics", lines)
    return pages


def paper(cited: Paper) -> str:
    """A line that links to where it was published."""
    return f"[{cited.short}]({cited.url}): {markdown(cited.title)}. {markdown(cited.venue)}"


def table(facts: Mapping[str, str]) -> str:
    """Two columns without a head."""
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in facts.items())])


def _measures(one: Method | ModelMethod | Recipe) -> dict[str, str]:
    base = METHODS[one.method] if isinstance(one, Recipe) else one
    assert not isinstance(base, Recipe)
    quantity = quantity_of(base, one.options if isinstance(one, Recipe) else {})
    unit = "" if quantity.unit == "1" else f", in {quantity.unit}"
    facts = {
        "numbers": f"{code(str(quantity))}: {quantity.meaning}{unit}",
        "cost": markdown(one.cost),
        "requirements": base.needs,
    }
    if isinstance(base, Method):
        facts["encoder–decoders"] = STEPS[base.decoder] if base.decoder else "not defined"
    return facts


def _head(name: str, folder: str) -> str:
    title = _module(folder, name).splitlines()[0]
    return f"# `{name}`\n\n{markdown(title)}"


def _prose(folder: str, name: str) -> str:
    return markdown("\n".join(_module(folder, name).splitlines()[1:]).strip())


def _module(folder: str, name: str) -> str:
    return sections(import_module(f"contextmix.{folder}.{name}"))[""]


def _function(function: Any) -> str:
    """What the docstring of the function says of the number, its options, what it refuses, and where it is from."""
    told = sections(function)
    parts = []
    if named := options_of(function):
        parts.append("## Options\n\n" + options(function, named))
    for name, heading in (
        ("Returns", "What comes out"),
        ("Raises", "When it refuses"),
        ("Source", "Source and departures"),
    ):
        if told.get(name):
            text = told[name]
            lines = [f"- {markdown(line)}" for line in _joined(text)] if name == "Raises" else [markdown(text)]
            parts.append(f"## {heading}\n\n" + "\n".join(lines))
    module = sys.modules[function.__module__]
    parts.append(f"The code: `{module.__name__}`.")
    return "\n\n".join(parts)


def _joined(section: str) -> Iterable[str]:
    """Entries of a section, each in one line."""
    lines: list[str] = []
    for line in section.splitlines():
        if line.startswith(" ") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def _index(title: str, folder: str, lines: Mapping[str, tuple[str, Paper, str]]) -> bytes:
    rows = [
        f"| [`{name}`]({name}.md) | {code(formula)} | {cited.short} | {markdown(cost)} |"
        for name, (formula, cited, cost) in lines.items()
    ]
    head = "| name | formula | paper | cost |\n| --- | --- | --- | --- |"
    names = "\n".join(lines)
    kinds = f"{len(lines)} {folder}, discovered automatically; this page and theirs are written from the code."
    return _page([f"# {title}", kinds, "\n".join([head, *rows]), f"```{{toctree}}\n:hidden:\n\n{names}\n```"])


def _page(parts: Iterable[str]) -> bytes:
    return ("\n\n".join(part for part in parts if part) + "\n").encode()
