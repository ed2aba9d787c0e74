"""Classifiers for methods that explain a score: a tiny BERT of three classes, and functions known in full."""

from collections.abc import Callable
from functools import cache

import torch
from tests.tracing.tiny import build, word_pieces
from torch import Tensor

import contextmix as cm
from contextmix.tokens.pieces import Tokens
from contextmix.traces.model_run import ModelRun
from contextmix.traces.target import Target

TEXT = "a deep and meaningful film ."
MASK = 4  # [MASK] in tiny.WORDS


def bert(dtype: torch.dtype = torch.float64, **changes):
    """Three classes, two layers, nothing trivial in it."""
    return build("bert", "ForSequenceClassification", num_labels=3, **changes).to(dtype)


def tokenizer():
    found = word_pieces()
    found.add_special_tokens({"mask_token": "[MASK]"})
    return found


@cache
def loaded(dtype: torch.dtype = torch.float64) -> cm.TracedModel:
    """One for all tests that leave it as it is."""
    return cm.load(bert(dtype), tokenizer())


def encoded(text: str = TEXT) -> dict[str, Tensor]:
    tensors = tokenizer()(text, return_tensors="pt")
    return {name: tensors[name] for name in ("input_ids", "token_type_ids")}


def embedded(model, inputs: dict[str, Tensor] | None = None) -> Tensor:
    """e⁰ (key, d_model): words, positions and types, and the norm after their sum."""
    with torch.no_grad():
        return model.bert.embeddings(**(inputs or encoded()))[0]


def scores_after(model, embeddings: Tensor) -> Tensor:
    """The rest of BERT, module by module: (batch, key, d_model) → logits (batch, class)."""
    states = embeddings
    for layer in model.bert.encoder.layer:
        states = layer(states)
    return model.classifier(model.bert.pooler(states))


def autograd(model, embeddings: Tensor, target: int) -> Tensor:
    """∂y_c/∂e by a backward pass that has nothing of the package in it, (key, d_model)."""
    leaf = embeddings.clone().requires_grad_()
    (found,) = torch.autograd.grad(scores_after(model, leaf[None])[0, target], leaf)
    return found


def finite_differences(model, embeddings: Tensor, target: int, step: float = 1e-5) -> Tensor:
    """The same without any backward pass: each number of e moved a little up and down."""
    moves = torch.eye(embeddings.numel(), dtype=embeddings.dtype).reshape(-1, *embeddings.shape) * step
    with torch.no_grad():
        up, down = (scores_after(model, embeddings + sign * moves)[:, target] for sign in (1, -1))
    return ((up - down) / (2 * step)).reshape(embeddings.shape)


def function_run(scores_from: Callable[[Tensor], Tensor], n: int = 3, target: int = 1, **changes) -> ModelRun:
    """A run of any function of the embeddings; token id k stands for row k of a fixed table."""
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ids = tuple(range(1, n + 1))
    with torch.no_grad():
        scores = scores_from(table[list(ids)][None])[0]
    parts = {
        "tokens": Tokens(tuple(map(str, ids)), ids),
        "embeddings": table[list(ids)],
        "target": Target(target, f"class {target}"),
        "targets": tuple(f"class {number}" for number in range(len(scores))),
        "clean": lambda: scores,
        "scores_from": scores_from,
        "scores_of": lambda other, kept=None: scores_from(table[other]),
        "embeddings_of": lambda other: table[other],
        "layers": lambda: [],
        "head": lambda: None,
        "mask_id": 9,
        "unknown_id": 8,
        "memory_budget": 2**30,
    }
    return ModelRun(**{**parts, **changes})


def linear(n: int = 3) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """y_c(e) = Σ_i w_ic · e_i + 1, and its weights (key, d_model, class)."""
    weights = torch.randn(n, 4, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return lambda points: torch.einsum("bkd,kdc->bc", points, weights) + 1, weights
