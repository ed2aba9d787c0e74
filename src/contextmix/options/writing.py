"""Options of what a model writes: how much, by which settings, or what is explained in its place.

See `contextmix.options.catalogue`, of which this is a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from contextmix.options.option import Option
from contextmix.options.spelling import PAIRS, TEXT
from contextmix.options.values import MAX_NEW_TOKENS

MAX_NEW = Option("Maximum number of tokens that the model writes.", default=MAX_NEW_TOKENS)
MaxWritten = Annotated[int, MAX_NEW]
MaxNewTokens = Annotated[int, MAX_NEW.but(default=10)]
Generation = Annotated[
    Mapping[str, Any] | None,
    Option(
        "Generation setting of the model, e.g. language=en or num_beams=4.",
        python="In Python: a dictionary, as for the model's generate.",
        otherwise="the model's settings, without sampling",
        spelling=PAIRS,
    ),
]
Output = Annotated[
    Any,
    Option(
        "For an encoder–decoder: the output to explain.",
        python="A text or token ids; for a list of sources, a list of these.",
        otherwise="what the model writes",
        spelling=TEXT,
    ),
]
Continuation = Annotated[
    Any, Option("Explain this text instead of what the model writes.", python="Or token ids.", spelling=TEXT)
]
Together = Annotated[
    bool,
    Option(
        "Explain all new tokens together: gradient methods explain the sum of their log-probabilities in one "
        "backward pass, other methods add up the explanations of each token, mixing maps average their rows.",
        default=False,
    ),
]
Contrast = Annotated[
    bool, Option("Explain why each token was chosen over the most probable alternative.", default=False)
]
