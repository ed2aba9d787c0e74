"""Options of what a model writes: how much, by which settings, or what is explained in its place.

See `contextmix.options.catalogue`, of which this is a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from contextmix.options.option import Option
from contextmix.options.spelling import PAIRS, TEXT
from contextmix.options.values import MAX_NEW_TOKENS

MAX_NEW = Option("The most tokens that the model writes itself.", default=MAX_NEW_TOKENS)
MaxWritten = Annotated[int, MAX_NEW]
MaxNewTokens = Annotated[int, MAX_NEW.but(default=10)]
Generation = Annotated[
    Mapping[str, Any] | None,
    Option(
        "Setting of the model's own generation, such as language=en or num_beams=4.",
        python="Here: name → value, as for the model's generate.",
        otherwise="those of the model, without sampling",
        spelling=PAIRS,
    ),
]
Output = Annotated[
    Any,
    Option(
        "Of an encoder–decoder: what it wrote.",
        python="A text, or token ids; for a list of sources a list.",
        otherwise="what it writes itself",
        spelling=TEXT,
    ),
]
Continuation = Annotated[
    Any, Option("Explain this text instead of what the model writes.", python="Or token ids.", spelling=TEXT)
]
Together = Annotated[
    bool,
    Option(
        "Explain all new tokens as one: the sum of their log-probabilities by one backward pass where a method follows "
        "gradients, else the sum of what explains each; of a mixing map the mean of their rows.",
        default=False,
    ),
]
Contrast = Annotated[bool, Option("Explain why each token and not the most probable other one.", default=False)]
