"""What goes in and out of the API: pydantic models, of which the OpenAPI description is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contextmix.options.option import declared
from contextmix.options.sets import Contrasting
from contextmix.options.verbs import Answering, ExploreOptions


class Refusal(BaseModel):
    """Why a request was not answered."""

    reason: str = Field(description="The reason, as a sentence.")
    field: str | None = Field(default=None, description="The field of the request that it concerns, if any.")


class Health(BaseModel):
    """The server is there."""

    status: Literal["ok"] = "ok"
    version: str = Field(description="Of contextmix.")


class ModelFacts(BaseModel):
    """A model that the server was started with."""

    name: str
    type: str = Field(description="Its transformers class.")
    labels: list[str] = Field(description="Its classes; empty for a language model.")
    limit: int = Field(description="Maximum number of tokens in a text here, including special tokens.")
    causal: bool = Field(description="Whether a token sees only earlier tokens.")
    layers: int
    answers: bool = Field(description="Whether it generates text and can be asked at /api/answers.")
    usual: list[str] = Field(description="The default methods; the first is shown first.")


class MethodFacts(BaseModel):
    """A method that can be asked for."""

    name: str
    title: str = Field(description="Its display name.")
    question: str = Field(description="The question it answers.")
    formula: str
    paper: str
    quantity: str = Field(description="What its numbers mean.")
    cost: str
    requirements: str = Field(description="What it requires of the model, or 'none'.")
    slow: bool = Field(description="Whether it takes many times as long as one run of the model.")
    of_model: bool = Field(description="Whether it explains a score of the whole model, not a token's representation.")


def _said(kind: Any, name: str, **more: Any) -> Any:
    """A field that is described as the option of the same name is everywhere."""
    option = declared(kind)[name].option
    return Field(description=f"{option.help} Default: {option.left_out}." if option.left_out else option.help, **more)


_Name = Annotated[str, Field(min_length=1)]


class Asked(BaseModel):
    """A text to explore: of the options of `TracedModel.explore` those that a page can send."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(description="A name from /api/models.")
    text: str = Field(min_length=1, description="The text, or the first of a pair.")
    pair: _Name | None = Field(default=None, description="The second text of a pair.")
    methods: list[str] = Field(min_length=1, max_length=32, description="Names from /api/methods, without repetition.")
    query: int | str | None = _said(ExploreOptions, "query", default=None)
    target: _Name | None = _said(ExploreOptions, "target", default=None)
    against: _Name | None = _said(Contrasting, "against", default=None)
    heads: bool = _said(ExploreOptions, "heads", default=False)
    each_class: bool = Field(
        default=False,
        description="For a model with few classes: let integrated_gradients explain each class, in 20 steps.",
    )
    add_special_tokens: bool | None = _said(ExploreOptions, "add_special_tokens", default=None)


def _option(name: str, **more: Any) -> Any:
    """A field that is described as the option of answers, with its default."""
    return _said(Answering, name, default=declared(Answering)[name].option.default, **more)


_Cut = Annotated[str | int, Field(union_mode="left_to_right")]
MOST_TEXTS = 64


class AskedAnswer(BaseModel):
    """A question about texts: of the options of `TracedModel.explain_answer` those that a page can send."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(description="A name from /api/models; the model must generate text.")
    question: str = Field(min_length=1, description="The question.")
    context: list[_Name] = Field(
        default=[],
        max_length=MOST_TEXTS,
        description="Texts that the answer may draw from. Without texts, the question is its own source.",
    )
    answer: _Name | None = _option("answer")
    sources: _Cut = _option("sources")
    units: _Cut = _option("units")
    method: str = _option("method")
    max_new_tokens: int = _option("max_new_tokens", ge=1)
    template: _Name | None = _option("template")
    truncate: bool = _option("truncate")
    dependence: bool = _option("dependence")
    ablate: str | None = _option("ablate")
    away: str | None = _option("away")
    masks: int = _option("masks")
    rewrite: int = _option("rewrite", ge=0)
    add_special_tokens: bool | None = _option("add_special_tokens")


class ShownAnswer(BaseModel):
    """An answer as the page shows it, cut in one way."""

    html: str = Field(description="Markup without scripts and styles; all text in it is escaped.")
    signed: bool = Field(description="Whether sources may speak against the answer.")
    numbers: dict[str, Any] = Field(description="Data for the page's script.")


class Exploration(BaseModel):
    """Where an exploration stands, or an answer."""

    id: str
    state: Literal["queued", "running", "done", "failed"]
    progress: float = Field(ge=0, le=1)
    what: str = Field(description="What is being computed.")
    ahead: int = Field(ge=0, description="Number of jobs ahead of it in the queue.")
    reason: str | None = Field(description="Why it failed.")
    field: str | None = Field(description="The field of the request that the reason concerns.")


class Axis(BaseModel):
    """Tokens along one side of a map."""

    pieces: list[str]
    gaps: list[str] = Field(description="What to write before each piece so that the text reads as written.")
    special: list[int] = Field(description="Positions of special tokens.")
    words: list[int | None] | None = Field(description="The word that each piece belongs to.")
    places: list[list[float]] | None = None


class MapData(BaseModel):
    """The numbers of a map: value = stored / limit · scale of the row, where the limit is what these bits hold."""

    bits: Literal[8, 16]
    columns: int
    scales: str = Field(description="base64 of float32, little-endian, one per row.")
    values: str = Field(description="base64 of gzip of (unsigned, if not signed) integers, little-endian.")
    error: float = Field(description="Largest difference to the true values.")


class Map(BaseModel):
    """One method's numbers."""

    model_config = ConfigDict(extra="allow")

    name: str
    title: str
    quantity: str
    signed: bool
    cumulative: bool
    dims: list[Literal["layer", "target", "head", "query", "key"]]
    shape: list[int]
    data: MapData


class Exhibit(BaseModel):
    """What the explorer shows: a text and the maps of several methods."""

    model_config = ConfigDict(extra="allow")

    format: Literal["contextmix/exhibit"]
    version: Literal[1]
    title: str
    model: str
    prediction: dict[str, Any] | None
    target: dict[str, Any] | None
    keys: Axis
    queries: Axis | None
    start: dict[str, int | None]
    maps: list[Map]
