"""Run the model again for one input: from changed embeddings, with gradients, or on other token ids."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.anatomy import Anatomy
from contextmix.errors import BadInput, BadOption, UnknownName, UnsupportedModel
from contextmix.modelrun import ModelRun
from contextmix.tokens import Tokens
from contextmix.trace import LayerTrace
from contextmix.tracing.differentiable import frozen, refuse_quantised, replaced_input
from contextmix.tracing.head import find_head
from contextmix.tracing.record import record
from contextmix.tracing.run import evaluating, first_states, quiet_run


@dataclass(frozen=True)
class Rerunner:
    """A model and one input for it, tensors with a batch axis of one."""

    model: PreTrainedModel
    anatomy: Anatomy
    tensors: Mapping[str, Tensor]

    def clean(self) -> tuple[Tensor, Tensor]:
        """What enters the first block (key, d_model), and the logits (class,)."""
        seen, outputs = self._seen(self.tensors)
        return seen[0], class_scores(self.model, outputs)[0]

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
            refuse_quantised(self.model)
        tensors = {name: value.expand(len(embeddings), *value.shape[1:]) for name, value in self.tensors.items()}
        with evaluating(self.model), frozen(self.model):
            parts = [self._scored(_rows(tensors, rows), embeddings[rows]) for rows in self._batches(tensors)]
        scores = torch.cat(parts)
        if asked and not scores.requires_grad:
            raise UnsupportedModel(
                f"The class scores of {type(self.model).__name__} do not depend on the embeddings in a way that "
                "gradients can follow, so a gradient would be zero everywhere and say nothing. Use occlusion."
            )
        return scores

    def scores_of(self, ids: Tensor, kept: Tensor | None = None) -> Tensor:
        """Logits (batch, class) of other token ids (batch, n); no gradients.

        Args:
            ids: True tokens only; n may differ from the input's.
            kept: (batch, n): the position of each token in the input, for what else the model reads per token (such as
                which text of a pair it belongs to). Left out, the same positions.

        Raises:
            BadInput: If the input holds no token ids, an id would be taken for padding, or nobody says what the model
                is to read beside ids of another length.
        """
        tensors = self._beside(ids, kept)
        outputs = [quiet_run(self.model, _rows(tensors, rows)) for rows in self._batches(tensors)]
        return torch.cat([class_scores(self.model, part) for part in outputs])

    def embeddings_of(self, ids: Tensor) -> Tensor:
        """What enters the first block, (batch, n, d_model), for other token ids (batch, n); no gradients.

        Raises:
            BadInput: As in `scores_of`.
        """
        tensors = self._beside(ids, None)
        return torch.cat([self._seen(_rows(tensors, rows))[0] for rows in self._batches(tensors)])

    def _seen(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """What enters the first block the first time that it runs, and the outputs."""
        seen: list[Tensor] = []

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(first_states(args, kwargs))  # type: ignore[arg-type]

        handle = self.first_block.register_forward_pre_hook(look, with_kwargs=True)
        try:
            outputs = quiet_run(self.model, tensors)
        finally:
            handle.remove()
        return seen[0].detach(), outputs

    def _scored(self, tensors: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        accepted = inspect.signature(self.model.forward).parameters
        options = {"use_cache": False} if "use_cache" in accepted else {}
        with replaced_input(self.first_block, embeddings):
            return class_scores(self.model, self.model(**tensors, **options, return_dict=True))

    def _batches(self, tensors: Mapping[str, Tensor]) -> list[slice]:
        """All rows at once; one by one where a decoder has no padding id and therefore refuses batches."""
        count = len(next(iter(tensors.values())))
        step = 1 if "input_ids" in tensors and _padding_id(self.model) is None else count
        return [slice(start, start + step) for start in range(0, count, step)]

    def _beside(self, ids: Tensor, kept: Tensor | None) -> dict[str, Tensor]:
        """Other token ids, and what the model reads beside them."""
        own = self.tensors.get("input_ids")
        if own is None:
            raise BadInput("The model was given no token ids, so no token can be replaced or left out.")
        ids, (batch, length) = ids.to(own.device), ids.shape
        self._refuse_padding(ids, own)
        found = {"input_ids": ids}
        for name, value in self.tensors.items():
            if name != "input_ids":
                per_token = value.shape[1:2] == own.shape[1:]
                if per_token and kept is not None:
                    found[name] = value[0][kept.to(value.device)]
                elif per_token and length != own.shape[1]:
                    found[name] = _alike(name, value).expand(batch, length, *value.shape[2:])
                else:
                    found[name] = value.expand(batch, *value.shape[1:])
        return found

    def _refuse_padding(self, ids: Tensor, own: Tensor) -> None:
        """An id of padding that the input does not hold: models pass over it, silently, in more than one way."""
        padding = _padding_id(self.model)
        if padding is not None and bool(((ids == padding).sum(-1) > (own == padding).sum()).any()):
            raise BadInput(
                f"The id {padding} means padding to {type(self.model).__name__}, which may pass over it instead of "
                "reading it, so the score would be that of another text. Choose another replacement."
            )

    def layers(self) -> list[LayerTrace]:
        """A proved `LayerTrace` per block, without a batch axis."""
        found: list[LayerTrace] = []
        record(self.model, self.anatomy, self.tensors, lambda layer: found.append(layer[0]))
        return found


def model_run(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    tokens: Tokens,
    target: int | str | None,
    memory_budget: int,
    tokenizer: Any,
) -> ModelRun:
    """Everything that a method needs to ask the model again about one input.

    Args:
        model: The model, with a head that gives class scores.
        anatomy: Where its parts are.
        tensors: Model inputs with a batch axis of one.
        tokens: Their labels.
        target: The explained class by name or number; None for the predicted one.
        memory_budget: Bytes that a method may use for its own tensors.
        tokenizer: For the ids of the mask and the unknown token; may be None.

    Raises:
        UnsupportedModel: If the model gives no class scores.
        UnknownName: If there is no such class.
    """
    again = Rerunner(model, anatomy, tensors)
    embeddings, scores = again.clean()
    names = class_names(model, len(scores))
    return ModelRun(
        tokens=tokens,
        embeddings=embeddings,
        target=int(scores.argmax()) if target is None else class_number(target, names),
        targets=names,
        scores=scores.detach(),
        scores_from=again.scores_from,
        scores_of=again.scores_of,
        embeddings_of=again.embeddings_of,
        layers=again.layers,
        head=partial(find_head, model, anatomy, tensors),
        mask_id=getattr(tokenizer, "mask_token_id", None),
        unknown_id=getattr(tokenizer, "unk_token_id", None),
        memory_budget=memory_budget,
    )


def class_scores(model: PreTrainedModel, outputs: Any) -> Tensor:
    """The logits (batch, class) of a sequence classifier.

    Raises:
        UnsupportedModel: If the model has no head that gives one score per class.
    """
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise UnsupportedModel(
            f"{type(model).__name__} gives no score per class, and this method explains such a score. Load the model "
            "with its classification head, or use a method that explains a representation, such as globenc."
        )
    return logits


def class_names(model: PreTrainedModel, count: int) -> tuple[str, ...]:
    """The names of the classes, in order."""
    names: Mapping[int, str] = model.config.id2label or {}  # type: ignore[assignment, unused-ignore]
    return tuple(str(names.get(number, number)) for number in range(count))


def class_number(target: int | str, names: tuple[str, ...]) -> int:
    """A class by its name or number.

    Raises:
        UnknownName: If there is no such class.
        BadOption: If two classes share the name.
    """
    if isinstance(target, int) or (target.isdigit() and target not in names):
        if not 0 <= int(target) < len(names):
            raise UnknownName("class", str(target), [f"{number}: {name}" for number, name in enumerate(names)])
        return int(target)
    if names.count(target) > 1:
        raise BadOption(f"{names.count(target)} classes are called {target!r}; name one by its number.")
    if target not in names:
        raise UnknownName("class", target, names)
    return names.index(target)


def _rows(tensors: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in tensors.items()}


def _padding_id(model: PreTrainedModel) -> int | None:
    found: int | None = getattr(model.config.get_text_config(), "pad_token_id", None)
    return found


def _alike(name: str, value: Tensor) -> Tensor:
    """A per-token input that says the same of every token, for one token."""
    if bool((value != value[:, :1]).any()):
        raise BadInput(
            f"The model reads {name} for each token, and ids of another length came without their positions in the "
            "input. A guess would run another text: say which tokens were kept."
        )
    return value[:, :1]
