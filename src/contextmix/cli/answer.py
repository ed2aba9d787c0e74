"""The verb that answers a question and names the sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text
from typing_extensions import Unpack

from contextmix.cli import arguments as given
from contextmix.cli.app import command
from contextmix.errors import BadInput
from contextmix.options.catalogue import MODEL, OwnOptions
from contextmix.options.option import declared, filled
from contextmix.options.sets import Precision
from contextmix.options.verbs import Answering
from contextmix.results.files import PAGES

if TYPE_CHECKING:
    from contextmix import Answer

FilesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[FILES]...", help="Further context files.", show_default=False)
]
ContextOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--context",
        help="Files that the answer may draw from. [default: the question is its own source]",
        show_default=False,
    ),
]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html", help="Also write a page that links each part of the answer to its sources.", show_default=False
    ),
]
QuestionOption = Annotated[
    str | None,
    typer.Option("--question", help="The question; '-' or no question reads it from a pipe.", show_default=False),
]


class AnswerFlags(Precision, Answering, total=False):
    """Flags of ``answer``."""

    model: Annotated[Any, MODEL.but(default="demo-answers")]
    options: OwnOptions


@command
def answer(
    files: FilesArgument = None,
    context: ContextOption = None,
    question: QuestionOption = None,
    json_file: given.JsonOption = None,
    html_file: HtmlOption = None,
    force: given.ForceOption = False,
    **flags: Unpack[AnswerFlags],
) -> None:
    """Let a decoder answer a question about texts, and show which sentences the answer is based on."""
    asked = filled(AnswerFlags, flags, "answer")
    given.refuse_output(json_file, force, (".json",))
    given.refuse_output(html_file, force, PAGES, "--html")
    options = dict(asked["options"] or {})
    given.selected(asked["method"], options)
    paths = [*(context or []), *(files or [])]
    texts = [_read(path) for path in paths] or None
    text = given.read_text(question, None)
    how = {name: asked[name] for name in declared(Answering)}
    traced = given.load_model(asked)
    with Console(stderr=True).status("Asking the model and tracing its answer …") as line:

        def progress(done: float, what: str) -> None:
            line.update(escape(f"{done:.0%} · {what} …"))

        found = traced.explain_answer(text, texts, progress=progress, **how, **options)
    found = _named(found, [path.name for path in paths])
    found.show()
    for path in (json_file, html_file):
        if path is not None:
            found.save(path, overwrite=force)
            Console().print(Text(f"Wrote {path}."), soft_wrap=True)


def _read(path: Path) -> str:
    """What a file says; a source of nothing is refused by its name."""
    text = given.read_text(None, path)
    if not text:
        raise BadInput(f"{path} is empty, so it cannot be a source. Leave it out.")
    return text


def _named(found: Answer, names: list[str]) -> Answer:
    """The answer whose texts bear the names of their files."""
    from dataclasses import replace

    if not names:
        return found
    named = [replace(one, name=name) for one, name in zip(found.passages, names, strict=True)]
    return replace(found, passages=tuple(named))
