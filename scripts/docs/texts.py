"""What people wrote about a method: question, idea, formula in LaTeX with its symbols, advice, evidence."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "method-texts"
DISPLAY = "math"


@dataclass(frozen=True)
class Text:
    """One file of `docs/method-texts`."""

    question: str
    idea: str
    formula: str
    symbols: tuple[str, ...]
    use: str
    avoid: str
    evidence: str


def text_of(name: str) -> Text | None:
    """What is written about a method; None for a plug-in without a text."""
    path = FOLDER / f"{name}.toml"
    if not path.exists():
        return None
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    return Text(**{**told, "symbols": tuple(told["symbols"])})


@cache
def symbols() -> dict[str, tuple[str, str]]:
    """Short name → LaTeX and meaning of every symbol that formulas use."""
    told = tomllib.loads((FOLDER / "symbols.toml").read_text(encoding="utf-8"))
    return {name: (latex, meaning) for name, (latex, meaning) in told.items()}


def opening(text: Text) -> str:
    """Question, idea and formula."""
    lines = [f"- ${latex}$: {meaning}" for latex, meaning in map(symbols().__getitem__, text.symbols)]
    return "\n\n".join(
        [
            f"**{text.question}**",
            f"## Idea\n\n{text.idea}",
            f"## Formula\n\n```{{{DISPLAY}}}\n{text.formula}\n```",
            "\n".join(lines),
        ]
    )


def advice(text: Text) -> str:
    """When to use it, when not, and what was measured."""
    return "\n\n".join(
        [
            f"## When to use it\n\n{text.use}",
            f"## When not to use it\n\n{text.avoid}",
            f"## What our evidence says\n\n{text.evidence}",
            "All results: [Which method should I believe?](../../believe.md)",
        ]
    )
