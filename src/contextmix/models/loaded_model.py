"""LoadedModel: a Hugging Face model with all that a run of it needs.

What it can be asked is in `contextmix.models.traced_model`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption, UnknownPosition, refuse_entries, refuse_kind, refuse_named
from contextmix.maths.kept import kept
from contextmix.maths.whole import index_of
from contextmix.models.attribution import Subject, attributed, masks, said
from contextmix.models.batch import BatchMaps, Measuring, Wanted
from contextmix.models.proof import Proof
from contextmix.models.usual import Usual
from contextmix.options.catalogue import AddSpecialTokens, SamplingRate, Truncate
from contextmix.options.option import takes
from contextmix.options.values import MEMORY_BUDGET, Asked
from contextmix.plugins.plan import Plan
from contextmix.results.provenance import library_versions
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Checks, Origin
from contextmix.tracing.discovery.blocks import discover
from contextmix.tracing.discovery.causality import is_causal
from contextmix.tracing.inputs.beside import refuse_without_main
from contextmix.tracing.inputs.encode import Inputs, length_limit, stacked
from contextmix.tracing.inputs.heads import runs_alone, speaks
from contextmix.tracing.inputs.media import refusals
from contextmix.tracing.inputs.probe import default_probe
from contextmix.tracing.inputs.sources import Readers, read_sources
from contextmix.tracing.recording.block_recorder import Visitor
from contextmix.tracing.recording.quiet import has_images, on_device
from contextmix.tracing.recording.record import record
from contextmix.tracing.recording.turns import turn_of
from contextmix.tracing.recording.walk import listed


class LoadedModel(Usual):
    """A model that reads inputs and runs on them: its tokenizer, where its parts are, whose turn it is.

    Made as a `contextmix.TracedModel`, which says what the arguments are.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        processor: Any = None,
        *,
        name: str,
        revision: str | None = None,
        anatomy: Anatomy | None = None,
    ) -> None:
        refuse_kind(f"{type(self).__name__}: model", model, PreTrainedModel)
        refuse_kind(f"{type(self).__name__}: name", name, str)
        refuse_kind(f"{type(self).__name__}: revision", revision, str, type(None))
        refuse_kind(f"{type(self).__name__}: anatomy", anatomy, Anatomy, type(None))
        self.model, self.tokenizer, self.processor = model, tokenizer, processor
        self.origin = Origin(name, revision or getattr(model.config, "_commit_hash", None), library_versions())
        self._anatomy, self._given, self.proof = anatomy, anatomy, Proof(model)

    # What it is ------------------------------------------------------------------------------------------------------

    @property
    def turn(self) -> threading.RLock:
        """Hold it while you run ``model`` yourself: recording changes a setting of it, so threads take turns."""
        return turn_of(self.model)

    @kept
    def limit(self) -> int | None:
        """The most tokens that the model reads."""
        return length_limit(self.model, self.tokenizer)

    @kept
    def is_causal(self) -> bool:
        """Whether its tokens see only what stands before them; found by looking at a short probe."""
        if self.model.main_input_name != "input_ids" or getattr(self.model.config, "is_encoder_decoder", False):
            return False
        with self.turn:
            return is_causal(self.model, on_device(self.model, self._probe()))

    def anatomy(self, probe: Mapping[str, Tensor] | None = None) -> Anatomy:
        """Where the model keeps the parts of its blocks; found on a short probe and kept.

        Raises:
            UnsupportedModel: If the blocks cannot be read.
        """
        if self._anatomy is None:
            with self.turn:
                self._anatomy = discover(self.model, on_device(self.model, probe or self._probe()))
                self.follow()
        return self._anatomy

    def follow(self) -> None:
        """Forget what was found of the model if someone has changed it since: its hooks, modules or attention."""
        if self._anatomy is not None and self.proof.is_of_another_model(self._anatomy):
            self._anatomy = self._given
            self.__dict__.pop("is_causal", None)

    @contextmanager
    def running(self, probe: Mapping[str, Tensor] | None, tensors: Mapping[str, Tensor]) -> Iterator[Anatomy]:
        """The turn for runs whose numbers are handed out, with the anatomy of the model as it is now.

        Args:
            probe: See `anatomy`.
            tensors: What the model will read, for the sentence of a refusal.

        Raises:
            UnsupportedModel: If the blocks cannot be read, or hooks of the user change what a method would not see.
        """
        refuse_tensors("running: tensors", tensors)
        if probe is not None:
            refuse_tensors("running: probe", probe)
        with self.turn, refusals(self.model, tensors), listed(self.model):
            self.follow()
            anatomy = self.anatomy(probe)
            with self.proof.watching(anatomy, partial(self._whole_probe, probe)):
                yield anatomy

    # What it reads and says ------------------------------------------------------------------------------------------

    @takes
    def encode(  # noqa: D417
        self,
        source: Any,
        *,
        truncate: Truncate = False,
        sampling_rate: SamplingRate = None,
        add_special_tokens: AddSpecialTokens = None,
    ) -> list[Inputs]:
        """Texts, images, sounds or model inputs as labelled single sequences.

        Args:
            source: What `TracedModel.explain` takes.

        Raises:
            BadInput: If a text is empty, or there is no tokenizer for it, or tensors do not fit.
            TooLong: If a sequence is longer than the model reads.
        """
        readers = Readers(self.model, self.tokenizer, self.processor, self.limit, self.anatomy)
        return read_sources(readers, source, sampling_rate, truncate=truncate, add_special_tokens=add_special_tokens)

    def labels(self, one: Inputs, count: int) -> Tokens:
        """The labels of an input, of which a run has shown ``count`` tokens."""
        refuse_kind("labels: one", one, Inputs)
        if one.tokens is not None:
            return one.tokens
        with self.turn:
            return one.labels(self.model, self.anatomy(), count)

    def prediction(self, outputs: Any, row: int, tokens: Tokens) -> dict[str, Any]:
        """What the model's head says, with its probability: the class, the next token, or the masked one."""
        row = index_of("prediction: row", row)
        refuse_kind("prediction: tokens", tokens, Tokens)
        logits = getattr(outputs, "logits", None)
        if not isinstance(logits, Tensor):
            return {}
        if not -len(logits) <= row < len(logits):
            raise UnknownPosition("sequence", row, range(len(logits)))
        if logits.ndim == 2:
            known = len(self.model.config.id2label or {})
            return said(self._subject(), logits[row], tokens, None) if logits.shape[-1] == known else {}
        if logits.ndim != 3 or not speaks(self.model):
            return {}
        found = [len(tokens) - 1] if self.is_causal else masks(self.tokenizer, tokens)
        whole = logits.shape[1] == len(tokens)  # or the last token's alone
        if len(found) != 1 or not (whole or self.is_causal):
            return {}
        return said(self._subject(), logits[row, found[0] if whole else -1], tokens, found[0])

    def together(self, batch_size: int) -> int:
        """How many sequences of equal length run together, of so many that were asked for; see `runs_alone`."""
        return min(batch_size, 1) if runs_alone(self.model) else batch_size

    # Running it, for the verbs and for whoever runs many inputs ------------------------------------------------------

    def measure_batch(
        self, tensors: Mapping[str, Tensor], plans: Sequence[Plan], wanted: Wanted | None = None
    ) -> BatchMaps:
        """Several mixing maps of one batch of sequences of equal length, in one run of the model.

        Args:
            tensors: Model inputs with a batch axis, without padding.
            plans: Mixing maps, with or without an aggregation.
            wanted: Whether a plan needs a layer; None for all.
        """
        refuse_tensors("measure_batch: tensors", tensors)
        refuse_without_main(self.model, tensors)
        refuse_entries("measure_batch: plans", plans, Plan)
        visit = Measuring(plans, wanted)
        outputs, checks = self._record(tensors, visit)
        return BatchMaps(plans, visit.found, outputs, checks)

    def attribute(
        self,
        one: Inputs,
        plan: Plan,
        target: Asked,
        position: int | str | None,
        memory_budget: int = MEMORY_BUDGET,
        tick: Callable[[], None] | None = None,
    ) -> TokenMap:
        """One attribution of the whole model; see `contextmix.models.attribution`."""
        return self.attribute_all(one, [plan], target, position, memory_budget, tick)[0]

    def attribute_all(
        self,
        one: Inputs,
        plans: Sequence[Plan],
        target: Asked,
        position: int | str | None,
        memory_budget: int = MEMORY_BUDGET,
        tick: Callable[[], None] | None = None,
    ) -> list[TokenMap]:
        """Several attributions of the same score, which share one run of the model."""
        refuse_kind("attribute: one", one, Inputs)
        refuse_entries("attribute: plans", plans, Plan)
        refuse_mixing(plans)
        with self.running(own_probe(stacked([one])), one.tensors):
            self.prove_parity(stacked([one]))
            return list(attributed(self._subject(), one, plans, target, position, memory_budget, tick))

    def prove_parity(self, tensors: Mapping[str, Tensor]) -> None:
        """Once per model: a recorded run gives what a plain one gives. For runs on these tensors that do not record."""
        refuse_tensors("prove_parity: tensors", tensors)
        if has_images(tensors) not in self.proof.compared:
            own = tensors if has_images(tensors) else self._whole_probe(own_probe(tensors))
            self._record(own, lambda _: None)

    def _subject(self) -> Subject:
        """What an attribution needs to know."""
        causal = speaks(self.model) and self.is_causal
        return Subject(self.model, self.anatomy(), self.tokenizer, causal, self.origin, lambda: self.is_causal)

    def _record(self, tensors: Mapping[str, Tensor], visit: Visitor, *, last_logits: int = 1) -> tuple[Any, Checks]:
        """See `contextmix.tracing.recording.record.record`."""
        with self.running(own_probe(tensors), tensors) as anatomy:
            own = on_device(self.model, tensors)
            found = record(self.model, anatomy, own, visit, last_logits=last_logits)
            self.proof.compare(tensors, found[0], last_logits)
            return found

    def _probe(self) -> dict[str, Tensor]:
        return default_probe(self.model, self.limit)

    def _whole_probe(self, own: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """All that the whole model reads; see `own_probe`."""
        return self._probe() if own is None else own


def refuse_tensors(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what is no mapping of tensors, as a wrong call, and one that holds nothing to read.

    Raises:
        BadInput: If it is empty.
    """
    refuse_named(what, tensors, Tensor)
    if not tensors:
        raise BadInput("The model inputs are empty, so there is nothing to run. Pass the result of LoadedModel.encode.")


def refuse_mixing(plans: Sequence[Plan]) -> None:
    """Refuse mixing maps where methods of the whole model are needed.

    Raises:
        BadOption: With the name of the first.
    """
    for plan in plans:
        if not plan.of_model:
            raise BadOption(f"{plan.name} is a mixing map and explains no score. Say explain, or measure_batch.")


def own_probe(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """What a model's anatomy is found on: token ids are like any other, but of an image or a sound the input itself."""
    return None if "input_ids" in tensors else {key: one[:1] if one.ndim else one for key, one in tensors.items()}
