"""The options of answers and their sources, declared once as those in `contextmix.options.catalogue` are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from contextmix.options.catalogue import METHOD
from contextmix.options.option import Option, at_least, between, one_of
from contextmix.options.spelling import NUMBER, NUMBERS, TEXT, TOKEN
from contextmix.options.values import OF_SCORE
from contextmix.options.writing import MAX_NEW

METHOD_OF_ANSWERS = OF_SCORE
"""What explains an answer, unless told otherwise."""

_CUT = Option(
    "What the texts are cut into: token, word, sentence, paragraph, line, document, or a number of tokens.",
    default="sentence",
    spelling=TOKEN,
)
Sources = Annotated[
    Any, _CUT.but(python="Or spans [(start, stop), …] of characters; of several texts [(text, start, stop), …].")
]
Units = Annotated[
    Any,
    _CUT.but(
        help="What the answer is cut into: token, word, sentence, paragraph, line, whole, or a number of tokens.",
        python="Or spans [(start, stop), …] of characters.",
    ),
]
AnswerMethod = Annotated[str, METHOD.but(default=METHOD_OF_ANSWERS, otherwise="")]
AnswerText = Annotated[
    str | None,
    Option("Explain this answer instead of the model's own.", otherwise="the model writes it", spelling=TEXT),
]
AnswerLength = Annotated[int, MAX_NEW.but(help="The most tokens of an answer that the model writes.")]
Template = Annotated[
    str | None,
    Option(
        "What places context and question: chat (the model's own template), plain (empty lines between them), question "
        "(Question: … Answer:), or a text with {context} and {question}.",
        otherwise="the model's own, or plain if it has none",
        spelling=TEXT,
    ),
]
LeaveOut = Annotated[
    bool, Option("Leave out the last sources of a context that is too long, instead of refusing it.", default=False)
]
Dependence = Annotated[
    bool,
    Option(
        "Also measure how far each token of the answer depends on the context: the KL divergence, in nats, of what the "
        "model says with it from what it says without. A short run of the model more.",
        default=False,
    ),
]
Thoughts = Annotated[
    Any,
    Option(
        "What tells the thoughts of a model from the answer behind them: markers (such as </think>), none (all is the "
        "answer), or a text that stands between the two, such as 'Answer:'.",
        python="Or a compiled pattern, or the span (start, stop) of the thoughts in what was written.",
        default="markers",
        spelling=TEXT,
    ),
]
Hops = Annotated[
    Any,
    Option(
        "How often what the answer draws from its own thoughts is passed on to what made them: 0, 1, 2, … or all.",
        default=1,
        spelling=TOKEN,
    ),
]

# What an answer loses without a source -------------------------------------------------------------------------------

ABLATIONS = ("source_occlusion", "source_value_zeroing", "context_cite", "source_surrogate")
"""What measures it."""
_ABLATION = Option(
    "source_occlusion (without each source alone), source_value_zeroing (its values zero in all layers), "
    "context_cite (LASSO on random masks, as published) or source_surrogate (ridge, from the answer's own scores).",
    default=ABLATIONS[0],
)
AblationMethod = Annotated[str, _ABLATION]
Ablate = Annotated[
    str | None,
    _ABLATION.but(
        help=f"Also measure what the answer loses without each source: {_ABLATION.help}",
        default=None,
        otherwise="nothing is taken away",
        check=one_of(*ABLATIONS),
        bare=ABLATIONS[0],
    ),
]
REWRITE = Option(
    "How many of the cited sources are also deleted, each alone, to let the model write its answer again: the "
    "strongest first.",
    python="Or the positions of sources.",
    default=3,
    spelling=NUMBER,
)
Rewrite = Annotated[int | Sequence[int], REWRITE]
AlsoRewrite = Annotated[int | Sequence[int], REWRITE.but(default=0)]
AwayBy = Annotated[
    Literal["masked", "deleted", "zeroed"] | None,
    Option(
        "How a source is taken away: its keys masked and positions kept, or its text deleted.",
        otherwise="masked; deleted for context_cite",
    ),
]
MOST_MASKS = 4096
"""Each is a run of the model, and the check on unseen masks takes memory with the square of their number."""
MaskCount = Annotated[
    int,
    Option(
        "Random masks that a surrogate is fitted on.", default=64, check=between(1, MOST_MASKS, "a number of masks")
    ),
]
MaskSeed = Annotated[
    int, Option("Random seed of the masks.", default=0, check=between(0, 2**31 - 1, "a seed of random numbers"))
]

# Weights of heads that are learned from ablations --------------------------------------------------------------------

HeadFeature = Annotated[
    Literal["evidence", "attention", "norm"],
    Option(
        "What is weighed of each head: evidence (what it draws that speaks for the answer), attention (its weights) or "
        "norm (the lengths of what it draws).",
        default="evidence",
        check=one_of("evidence", "attention", "norm"),
    ),
]
LearningMasks = Annotated[
    int,
    Option(
        "Random halves of the sources that each answer is asked about: as many runs of the model.",
        default=32,
        check=between(4, MOST_MASKS, "a number of masks"),
    ),
]
HeldOut = Annotated[
    int | None,
    Option(
        "Answers that are not learned from, and that the weights are judged by.",
        otherwise="a third of them",
        check=at_least(6, "a number of answers for a test"),
    ),
]
Passes = Annotated[
    Sequence[int],
    Option(
        "ContextCite with so many runs of the model stands beside the weights, on the held-out answers; an empty list "
        "leaves it out.",
        default=(16, 32),
        spelling=NUMBERS,
    ),
]
