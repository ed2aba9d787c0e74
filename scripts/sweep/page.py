"""The support page, docs/models.md, from the results of the sweep."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.sweep.pictured import TEXT_ALONE

PAGE = Path(__file__).parents[2] / "docs/models.md"

# A phrase of a refusal, and what it means to a reader; the first that is found decides.
REFUSALS = (
    ("outside the attention registry", "It computes attention itself, outside the attention registry of transformers"),
    (
        "without one attention call",
        "No layer of its default config makes an attention call (convolutions), and no mixer of channels was found",
    ),
    ("made no attention call", "Some layers mix tokens in a way that is no map of each channel"),
    ("two stacks cannot be told apart", "Encoder and decoder that cannot be told apart"),
    ("an encoder with a decoder", "Encoder and decoder, of which no part could be read"),
    ("other outputs on every run", "It gives other outputs on every run"),
    ("behaves differently under another attention", "It computes something else when its attention is recorded"),
    ("Something acts between the heads", "Something acts between the heads and the output projection"),
    ("behind attention reads as many channels", "The heads' output is split before it is projected"),
    ("is not the heads' output times a gate", "What lies between heads and output projection is no gate or norm"),
    ("no linear module reads the heads' output", "A gate or a norm lies between the heads and the output projection"),
    ("beside attention mixes tokens", "Something beside attention mixes tokens within a block"),
    ("come from another layer", "A layer attends to values of another layer"),
    ("attend as", "Attention works on windows of the tokens"),
    ("its states have the axes", "Its states are not one row per token of each sequence"),
    ("something acts between these blocks", "Something acts between two blocks"),
    ("no module writes what its output holds", "A block is more than attention and one feed-forward part"),
    ("rebuild its output only", "A block is more than attention and one feed-forward part"),
    ("not with its eager attention", "It does not run with its own eager attention, whose weights would be recorded"),
    ("does not run a second time", "A block of it does not run a second time"),
    ("no module around it maps", "Attention is called more than once in a block, or in no block at all"),
)
OMISSIONS = (
    ("requires the", "It needs a library that is not installed where the sweep ran"),
    ("code does not load", "Its code does not load where the sweep ran"),
    ("no small model could be built", "No small model of it could be built from its default config"),
    ("no default input", "No input is known on which a small model of it runs"),
    ("does not run on the probe", "No input is known on which a small model of it runs"),
    ("took longer", "It took too long, or too much memory"),
    ("it may use at most", "It took too long, or too much memory"),
)

_INTRODUCTION = """\
# Which models can be read

Every model type of transformers {transformers}, tried by `make sweep`, which writes this page. The same table in a
terminal: `contextmix models`; in Python: `contextmix.models()`.
"""
_INSIDE = "transformers loads no model by its config alone; what reads it is another type of this page"
_MEANING = """\
There is no list of supported models in contextmix: this page is a record, not a switch. What is *verified* was a small
model of the type, with random weights, none of them at a value that hides something (no norm weight of one, no bias of
zero, no gate closed), on a short random *input*. It had the kinds of layers that its default config names and those
that its code knows beside them, if it runs with all of them; *kinds* says which, where there are several. A model of
text and images that was given text alone is verified for text alone; of an encoder–decoder both stacks are, and of a
model of two towers both towers, each of which gives in the whole model what it gives alone. What was shown:

- the parts of each block add up to what the model computed (*error*: the largest relative error of conservation, block
  equation and parity; at most 1e-4 is allowed),
- nothing but attention, or a mixer whose map of each channel is known, mixes tokens within a block, and nothing acts
  between two blocks,
- a map is exactly zero above the diagonal if, and only if, no position of the model draws on a later one (*causal*).

The same checks run on your own model: `contextmix check MODEL`.
"""

_TEXT_ALONE = f"*{TEXT_ALONE.capitalize()}*: the whole model reads text; a prompt with an image is refused."


def write_page(results: Mapping[str, Any], page: Path = PAGE) -> None:
    """Write the page.

    Args:
        results: What `python -m scripts.sweep` found, as it stands in the package.
        page: Where to.
    """
    page.write_text("\n".join(_lines(results["versions"], results["models"])) + "\n", encoding="utf-8")


def _lines(versions: Mapping[str, str], models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    verified = {name: one for name, one in models.items() if one["status"] == "verified"}
    whole = {name: one for name, one in verified.items() if not one["part"]}
    parts = {name: one for name, one in verified.items() if one["part"]}
    refused = {name: one["reason"] for name, one in models.items() if one["status"] == "refused"}
    omitted = {name: one["reason"] for name, one in models.items() if one["status"] == "not tried"}
    inside = {name: one["reason"] for name, one in models.items() if one["status"] == "inside another"}
    return [
        *_INTRODUCTION.format(**versions).splitlines(),
        "",
        "| status | model types | meaning |",
        "| --- | ---: | --- |",
        f"| verified | {len(whole)} | every check passed on the whole model |",
        f"| verified in part | {len(parts)} | the whole is refused; the encoder or sub-models that are named passed |",
        f"| refused | {len(refused)} | contextmix says why instead of giving a number |",
        f"| not tried | {len(omitted)} | no small model of it could be built or run where the sweep ran |",
        *([f"| inside another | {len(inside)} | {_INSIDE} |"] if inside else []),
        "",
        *_MEANING.splitlines(),
        "",
        f"## Verified ({len(whole)})",
        "",
        *_table(
            ("model type", "class", "input", "layout", "kinds", "causal", "error"),
            [_row(name, one) for name, one in whole.items()],
        ),
        "",
        f"## Verified in part ({len(parts)})",
        "",
        "Load the part by itself: `contextmix.load(model.get_encoder())` for *encoder*, `contextmix.load(model.PART)` "
        "for the others.",
        *([_TEXT_ALONE] if any(one["part"].startswith(TEXT_ALONE) for one in parts.values()) else []),
        "",
        *_table(
            ("model type", "class", "part", "input", "layout", "kinds", "causal", "error"),
            [_row(name, one, f"`{one['part']}`") for name, one in parts.items()],
        ),
        "",
        f"## Refused ({len(refused)})",
        *_grouped(refused, REFUSALS),
        "",
        f"## Not tried ({len(omitted)})",
        *_grouped(omitted, OMISSIONS),
        *(["", f"## Inside another ({len(inside)})", "", *_listed_inside(inside)] if inside else []),
    ]


def _listed_inside(reasons: Mapping[str, str]) -> list[str]:
    return [f"- `{name}`: {reason.rpartition('; ')[2]}" for name, reason in reasons.items()]


def _row(name: str, one: Mapping[str, Any], *part: str) -> tuple[str, ...]:
    error = max(one[check] for check in ("conservation", "block_equation", "parity"))
    return (
        f"`{name}`",
        one["class"],
        *part,
        one["inputs"],
        one["layouts"],
        _kinds(one),
        "yes" if one["causal"] else "no",
        f"{error:.0e}",
    )


def _kinds(one: Mapping[str, Any]) -> str:
    kinds = str(one.get("kinds", "")).replace("_attention", "")
    return kinds if ", " in kinds else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _grouped(reasons: Mapping[str, str], phrases: Sequence[tuple[str, str]]) -> list[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        heading = next((heading for phrase, heading in phrases if phrase in reason), "Other")
        groups[heading].append(f"`{name}`" + (f": {_one_line(reason)}" if heading == "Other" else ""))
    lines = []
    for heading, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        lines += ["", f"**{heading}** ({len(names)}): {', '.join(names)}."]
    return lines


def _one_line(reason: str) -> str:
    return re.sub(r"\s+", " ", reason)[:160].replace("|", "/")
