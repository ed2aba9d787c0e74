"""Run the model again for one input: from changed embeddings, with gradients, or on other token ids."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import BadInput, UnsupportedModel
from contextmix.maths.kept import kept
from contextmix.options.values import Asked
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.model_run import ModelRun
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.discovery.head import find_head
from contextmix.tracing.inputs.encode import token_axis
from contextmix.tracing.inputs.heads import class_scores, padding_id, refuse_padding, token_scores
from contextmix.tracing.inputs.imaged import refuse_other_images
from contextmix.tracing.inputs.meaning import meaning_of
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.targets import Classes, choose, names_of
from contextmix.tracing.recording.blocks.between import Entering, entering, replaced_later, taken_apart
from contextmix.tracing.recording.blocks.by_token import as_read
from contextmix.tracing.recording.differentiable import frozen, refuse_gradientless, replaced_input
from contextmix.tracing.recording.quiet import (
    as_called,
    evaluating,
    has_images,
    plain_outputs,
    quiet_run,
    run_options,
)
from contextmix.tracing.recording.record import layers_of
from contextmix.tracing.runs.span import span_at


@dataclass(frozen=True)
class Rerunner:
    """A model and one input for it.

    Attributes:
        model: The model.
        anatomy: Where its parts are.
        tensors: Model inputs with a batch axis of one.
        position: Whose logits are the scores, for a model with logits at each token: -1 for the last one, however many
            tokens there are, or a position in the input. None for a model with one score per class.
    """

    model: PreTrainedModel
    anatomy: Anatomy
    tensors: Mapping[str, Tensor]
    position: int | None = None

    def clean(self) -> tuple[Tensor, Tensor]:
        """What enters the blocks (key, d_model; see `Entering.together`), and the logits (class,)."""
        seen, outputs = self._entering(self.tensors)
        return seen.together[0].detach(), self._scores(outputs)[0]

    @property
    def last_logits(self) -> int:
        """How many of the last logits the scores are made of; 0 where it may be any."""
        return int(self.position == -1)

    @property
    def first_block(self) -> nn.Module:
        """The block that reads the embeddings."""
        return self.model.get_submodule(self.anatomy.blocks[0].path)

    def scores_from(self, embeddings: Tensor) -> Tensor:
        """Logits (batch, class) from what enters the first block, (batch, key, d_model); gradients flow.

        Raises:
            UnsupportedModel: If gradients are asked of a quantised model, of scores that do not depend on the
                embeddings, or of a block whose input cannot be replaced.
        """
        asked = torch.is_grad_enabled() and embeddings.requires_grad
        if asked:
            refuse_gradientless(self.model)
        tensors = {name: value.expand(len(embeddings), *value.shape[1:]) for name, value in self.tensors.items()}
        with evaluating(self.model), plain_outputs(self.model), frozen(self.model):
            parts = [self._scored(_rows(tensors, rows), embeddings[rows]) for rows in self._batches(tensors)]
        scores = torch.cat(parts)
        if asked and not scores.requires_grad:
            raise UnsupportedModel(
                f"The class scores of {type(self.model).__name__} do not depend on the embeddings in a way that "
                "gradients can follow, so a gradient would be zero everywhere and say nothing. Use occlusion."
            )
        return scores

    @kept
    def _later(self) -> Mapping[int, Tensor]:
        """What is added between blocks, which only images bring about."""
        return self._entering(self.tensors)[0].later if has_images(self.tensors) else {}

    def scores_of(self, ids: Tensor, kept: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        """Logits (batch, class) of other token ids (batch, n); no gradients.

        Args:
            ids: True tokens only, but for those that are not seen; n may differ from the input's.
            kept: (batch, n): the position of each token in the input, for what else the model reads per token (such as
                which text of a pair it belongs to). Left out, the same positions.
            seen: (batch, n): False for tokens that attention passes over. Left out, all are seen.

        Raises:
            BadInput: If the input holds no token ids, an id would be taken for padding, nobody says what the model
                is to read beside ids of another length, or the token is left out whose scores are explained.
            UnsupportedModel: If attention cannot be told to pass over tokens.
        """
        tensors, places = self._beside(ids, kept, seen), self._places(ids, kept)
        parts = []
        for rows in self._batches(tensors):
            outputs = quiet_run(self.model, _rows(tensors, rows), last_logits=self.last_logits)
            parts.append(self._scores(outputs, None if places is None else places[rows]))
        return torch.cat(parts)

    def embeddings_of(self, ids: Tensor, seen: Tensor | None = None) -> Tensor:
        """What enters the first block, (batch, n, d_model), for other token ids (batch, n); no gradients.

        Args:
            ids: As in `scores_of`, as many as the input has.
            seen: As in `scores_of`.

        Raises:
            BadInput: As in `scores_of`.
            UnsupportedModel: As in `scores_of`.
        """
        tensors = self._beside(ids, None, seen)
        found = [self._entering(_rows(tensors, rows))[0].together for rows in self._batches(tensors)]
        return torch.cat(found).detach()

    def _entering(self, tensors: Mapping[str, Tensor]) -> tuple[Entering, Any]:
        """What enters the blocks, and the outputs."""
        return entering(self.model, self.anatomy.blocks, tensors, last_logits=self.last_logits)

    def _scored(self, tensors: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        options = run_options(self.model, last_logits=self.last_logits)
        blocks, own = self.anatomy.blocks, self._later
        first, later = taken_apart(embeddings, tuple(own))
        with (
            replaced_input(self.first_block, as_read(first, blocks[0])),
            replaced_later(self.model, blocks, own, later),
        ):
            return self._scores(self.model(**as_called(tensors), **options))

    def _scores(self, outputs: Any, places: Tensor | None = None) -> Tensor:
        """The logits (batch, class) that are explained."""
        if self.position is None:
            return class_scores(self.model, outputs)
        return token_scores(self.model, outputs, self.position if places is None else places)

    def _places(self, ids: Tensor, kept: Tensor | None) -> Tensor | None:
        """Where the explained position is among other ids (batch,); None for where it always is."""
        if self.position in (None, -1) or kept is None:
            return None
        here = (kept == self.position).long()
        if not bool(here.any(-1).all()):
            raise BadInput(
                f"The token at position {self.position} was left out, and it is the one whose scores are explained. "
                "Replace it, or leave out others."
            )
        return here.argmax(-1)

    def _batches(self, tensors: Mapping[str, Tensor]) -> list[slice]:
        """All rows at once; one by one where a classifier has no padding id and therefore refuses batches."""
        count = len(next(iter(tensors.values())))
        reads_tokens = not tensors.keys().isdisjoint(("input_ids", "inputs_embeds"))
        step = 1 if self.position is None and reads_tokens and padding_id(self.model) is None else count
        return [slice(start, start + step) for start in range(0, count, step)]

    def _beside(self, ids: Tensor, kept: Tensor | None, seen: Tensor | None = None) -> dict[str, Tensor]:
        """Other token ids, and what the model reads beside them."""
        own = self.tensors.get("input_ids")
        if own is None:
            raise BadInput("The model was given no token ids, so no token can be replaced or left out.")
        ids, (batch, length) = ids.to(own.device), ids.shape
        refuse_other_images(self.model, self.tensors, ids)
        mask = {} if seen is None else self._mask(seen.to(own.device))
        refuse_padding(self.model, ids, own, mask.get("attention_mask"))
        self._refuse_unknown(ids)
        found = {"input_ids": ids, **mask}
        for name, value in self.tensors.items():
            if name not in found:
                per_token = token_axis(name, value[0], own.shape[1]) is not None
                if name == "position_ids" and length != own.shape[1]:
                    raise BadInput(_UNNUMBERED)
                if per_token and kept is not None and length != own.shape[1]:
                    found[name] = value[0][kept.to(value.device)]
                elif per_token and length != own.shape[1]:
                    found[name] = _alike(name, value).expand(batch, length, *value.shape[2:])
                else:
                    found[name] = value.expand(batch, *value.shape[1:])
        return found

    def _refuse_unknown(self, ids: Tensor) -> None:
        """An id that the embedding does not have, such as that of a mask that was added to the tokenizer alone."""
        known, largest = vocabulary(self.model), int(ids.max())
        if known is not None and largest >= known:
            raise BadInput(
                f"The token id {largest} is to take another token's place, and {type(self.model).__name__} knows 0 to "
                f"{known - 1}: the tokenizer has tokens that the model was never resized for. Choose another "
                "replacement."
            )

    def _mask(self, seen: Tensor) -> dict[str, Tensor]:
        if "attention_mask" not in inspect.signature(self.model.forward).parameters:
            raise UnsupportedModel(
                f"{type(self.model).__name__} takes no attention_mask, so it cannot be told to pass over a token that "
                "stays in its place. Delete the token, or replace it."
            )
        return {"attention_mask": seen.long()}

    def layers(self) -> list[LayerTrace]:
        """A proved `LayerTrace` per block, without a batch axis."""
        return layers_of(self.model, self.anatomy, self.tensors)


def model_run(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    tokens: Tokens,
    target: Asked,
    memory_budget: int,
    tokenizer: Any,
    position: int | None = None,
    looks_back: Callable[[], bool] = lambda: False,
) -> ModelRun:
    """Everything that a method needs to ask the model again about one input.

    Args:
        model: The model, with a head that gives scores.
        anatomy: Where its parts are.
        tensors: Model inputs with a batch axis of one.
        tokens: Their labels.
        target: The explained class or token by name or number, or two to contrast; None for the predicted one.
        memory_budget: Bytes that a method may use for its own tensors.
        tokenizer: For the ids of tokens; may be None.
        position: Whose scores; see `Rerunner`.
        looks_back: Whether tokens see only what stands before them.

    Raises:
        UnsupportedModel: If the model gives no such scores.
        UnknownName: If there is no such class.
        NotInVocabulary: If there is no such token.
    """
    again = Rerunner(model, anatomy, tensors, position)
    embeddings, scores = again.clean()
    names = names_of(model, tokenizer, len(scores))
    meaning = meaning_of(model, len(scores))
    chosen = choose(target, scores, names, meaning)
    return ModelRun(
        tokens=tokens,
        embeddings=embeddings,
        target=chosen,
        targets=names.names if isinstance(names, Classes) else (),
        clean=scores.detach,
        scores_from=again.scores_from,
        scores_of=again.scores_of,
        embeddings_of=again.embeddings_of,
        layers=again.layers,
        head=partial(find_head, model, anatomy, tensors, None if position is None else (position, chosen)),
        mask_id=getattr(tokenizer, "mask_token_id", None),
        unknown_id=getattr(tokenizer, "unk_token_id", None),
        memory_budget=memory_budget,
        position=position,
        meaning=meaning,
        looks_back=looks_back,
        span=partial(span_at, model, anatomy, tensors, (position, len(embeddings)), chosen, meaning),
    )


_UNNUMBERED = (
    "The input came with position_ids, and a token is to be left out: whether the others keep their positions or move "
    "up is not said. Replace the token instead (mask, unknown), or leave position_ids out."
)


def _rows(tensors: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in tensors.items()}


def _alike(name: str, value: Tensor) -> Tensor:
    """A per-token input that says the same of every token, for one token."""
    if bool((value != value[:, :1]).any()):
        raise BadInput(
            f"The model reads {name} for each token, and ids of another length came without their positions in the "
            "input. A guess would run another text: say which tokens were kept."
        )
    return value[:, :1]
