"""How easily is a label read from states? The length of an online code (Voita & Titov 2020).

Labels are sent in blocks. The first block costs log₂ K bits each; every later one is coded with a probe that was
trained on all blocks before it, −log₂ p(label | state). A label that is easy to read is learnt from few examples, and
its code is short. Compression is N·log₂ K over the length of the code: about 1, or less, where states say nothing.

The released code of Value Zeroing applies the softmax twice, lets the learning rate reach zero after one epoch, keeps
the epoch that is best on the very block to be coded, adds that loss in nats to bits, and splits without a seed. Here
the softmax is taken once, the rate stays, the best epoch is that of a held-out part of the training examples, all is
in bits, and every draw has a seed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contextmix.errors import BadInput
from contextmix.plugins.papers import Paper

VOITA_2020 = Paper(
    "Voita & Titov",
    2020,
    "Information-Theoretic Probing with Minimum Description Length",
    "EMNLP",
    "https://aclanthology.org/2020.emnlp-main.14",
)
PORTIONS = (0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the examples at which blocks end."""
FEWEST = 2
"""Examples of the first block: one to train a probe on, one to hold out."""

EPOCHS, PATIENCE, BATCH, RATE, HIDDEN = 50, 5, 128, 1e-3, 128
HELD_OUT = 0.1

Probe = Callable[[Tensor], Tensor]
"""States (example, dimension) → logarithms of probabilities, natural, (example, class)."""
Trainer = Callable[[Tensor, Tensor, int], Probe]
"""States and labels to train on, and the number of classes → a probe."""


@dataclass(frozen=True)
class OnlineCode:
    """The code of one set of labels.

    Attributes:
        bits: (example,), in the order of the examples: what each label costs.
        classes: K.
    """

    bits: NDArray[np.float64]
    classes: int

    @property
    def length(self) -> float:
        """Of the whole code, in bits."""
        return float(self.bits.sum())

    @property
    def compression(self) -> float:
        """N·log₂ K / length."""
        return len(self.bits) * math.log2(self.classes) / self.length


def online_code(
    states: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    *,
    portions: Sequence[float] = PORTIONS,
    train: Trainer | None = None,
    seed: int = 0,
) -> OnlineCode:
    """Code labels one block after the other, in an order that is drawn.

    Args:
        states: (example, dimension).
        labels: (example,), from 0 to ``classes`` − 1.
        classes: K.
        portions: Shares of the examples at which blocks end; the last is 1.
        train: How a probe is trained; left out, `trained_probe`.
        seed: Of the order and of all that training draws.

    Raises:
        BadInput: If there are too few examples for so many blocks, or all of them have the same label.

    Source:
        Voita & Titov (2020), section 3.2.

    Example:
        >>> fair = lambda states, labels, classes: lambda new: torch.full((len(new), classes), math.log(1 / classes))
        >>> labels = np.arange(400) % 2
        >>> round(online_code(np.zeros((400, 3), np.float32), labels, 2, train=fair).compression, 6)
        1.0
    """
    ends = block_ends(len(labels), portions)
    if len(np.unique(labels)) < 2:
        raise BadInput("All examples have the same label, so there is nothing to tell apart. Give examples of each.")
    train = train or trained_probe
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled, said = torch.from_numpy(states[order]).float(), torch.from_numpy(labels[order])
    bits = np.full(len(labels), math.log2(classes))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        for start, stop in pairwise(ends):
            probe = train(shuffled[:start], said[:start], classes)
            with torch.no_grad():
                logs = probe(shuffled[start:stop]).gather(1, said[start:stop, None])[:, 0]
            bits[order[start:stop]] = -logs.double().numpy() / math.log(2)
    return OnlineCode(bits, classes)


def block_ends(count: int, portions: Sequence[float] = PORTIONS) -> list[int]:
    """The number of examples sent after each block.

    Raises:
        BadInput: If the first block would hold fewer than `FEWEST` examples.

    Example:
        >>> block_ends(1000)
        [8, 16, 32, 62, 125, 250, 500, 1000]
    """
    ends = [round(count * portion) for portion in portions]
    if ends[0] < FEWEST:
        raise BadInput(
            f"{count} examples are too few for an online code: its first block is {portions[0]:.1%} of them and must "
            f"hold {FEWEST}. Give at least {math.ceil((FEWEST - 0.5) / portions[0])}."
        )
    return ends


def trained_probe(states: Tensor, labels: Tensor, classes: int) -> Probe:
    """A probe with one hidden layer, as in the released code, trained until a held-out tenth is predicted no better.

    Args:
        states: (example, dimension).
        labels: (example,).
        classes: K.
    """
    held = max(1, round(len(labels) * HELD_OUT))
    probe = nn.Sequential(
        nn.Dropout(0.2),
        nn.Linear(states.shape[1], HIDDEN),
        nn.ReLU(),
        nn.LayerNorm(HIDDEN),
        nn.Dropout(0.3),
        nn.Linear(HIDDEN, classes),
        nn.LogSoftmax(dim=-1),
    )
    optimiser = torch.optim.Adam(probe.parameters(), lr=RATE)
    best, kept, waited = math.inf, copy.deepcopy(probe.state_dict()), 0
    for _ in range(EPOCHS):
        probe.train()
        for batch in _batches(len(labels) - held):
            optimiser.zero_grad()
            nn.functional.nll_loss(probe(states[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        probe.eval()
        with torch.no_grad():
            loss = nn.functional.nll_loss(probe(states[-held:]), labels[-held:]).item()
        if loss < best:
            best, kept, waited = loss, copy.deepcopy(probe.state_dict()), 0
        elif (waited := waited + 1) == PATIENCE:
            break
    probe.load_state_dict(kept)
    return probe.eval()


def _batches(count: int) -> Iterator[Tensor]:
    """All examples in a new order, so many at a time."""
    order = torch.randperm(count)
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH]
