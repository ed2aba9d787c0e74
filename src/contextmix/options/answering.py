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
    "How to split the texts into sources: token, word, sentence, paragraph, line, document, or a number of tokens.",
    default="sentence",
    spelling=TOKEN,
)
Sources = Annotated[
    Any, _CUT.but(python="Or character spans [(start, stop), …]; for several texts [(text, start, stop), …].")
]
Units = Annotated[
    Any,
    _CUT.but(
        help="How to split the answer into parts: token, word, sentence, paragraph, line, whole, or a number of "
        "tokens.",
        python="Or character spans [(start, stop), …].",
    ),
]
AnswerMethod = Annotated[str, METHOD.but(default=METHOD_OF_ANSWERS, otherwise="")]
AnswerText = Annotated[
    str | None,
    Option("Explain this answer instead of the model's own.", otherwise="the model writes it", spelling=TEXT),
]
AnswerLength = Annotated[int, MAX_NEW.but(help="Maximum length, in tokens, of an answer that the model writes.")]
Template = Annotated[
    str | None,
    Option(
        "How context and question are put together: chat (the model's own template), plain (separated by empty "
        "lines), question (Question: … Answer:), or a text with {context} and {question}.",
        otherwise="the model's own template, or plain if it has none",
        spelling=TEXT,
    ),
]
LeaveOut = Annotated[
    bool, Option("Drop the last sources of a context that is too long, instead of refusing it.", default=False)
]
Dependence = Annotated[
    bool,
    Option(
        "Also measure how much each token of the answer depends on the context: the KL divergence, in nats, between "
        "the model's predictions with and without it. Costs one more short run of the model.",
        default=False,
    ),
]
Thoughts = Annotated[
    Any,
    Option(
        "How to separate a model's thoughts from the answer that follows: markers (e.g. </think>), none (everything "
        "is the answer), or the text between the two, e.g. 'Answer:'.",
        python="Or a compiled pattern, or the span (start, stop) of the thoughts in the output.",
        default="markers",
        spelling=TEXT,
    ),
]
Hops = Annotated[
    Any,
    Option(
        "How many times to trace the answer's own thoughts back to what produced them: 0, 1, 2, … or all.",
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
        help=f"Also measure what the answer loses without each source, with {_ABLATION.help}",
        default=None,
        otherwise="nothing is removed",
        check=one_of(*ABLATIONS),
        bare=ABLATIONS[0],
    ),
]
REWRITE = Option(
    "Number of cited sources, strongest first, to delete one at a time and let the model answer again.",
    python="Or the positions of sources.",
    default=3,
    spelling=NUMBER,
)
Rewrite = Annotated[int | Sequence[int], REWRITE]
AlsoRewrite = Annotated[int | Sequence[int], REWRITE.but(default=0)]
AwayBy = Annotated[
    Literal["masked", "deleted", "zeroed"] | None,
    Option(
        "How to remove a source: masked (mask its keys, keep positions), deleted (delete its text) or zeroed (set "
        "its values to zero).",
        otherwise="masked; deleted for context_cite",
    ),
]
MOST_MASKS = 4096
"""Each is a run of the model, and the check on unseen masks takes memory with the square of their number."""
MaskCount = Annotated[
    int,
    Option(
        "Number of random masks to fit a surrogate on.", default=64, check=between(1, MOST_MASKS, "a number of masks")
    ),
]
MaskSeed = Annotated[int, Option("Random seed for the masks.", default=0, check=between(0, 2**31 - 1, "a random seed"))]

# Weights of heads that are learned from ablations --------------------------------------------------------------------

HeadFeature = Annotated[
    Literal["evidence", "attention", "norm"],
    Option(
        "What to weight in each head: evidence (what it contributes in favour of the answer), attention (its "
        "weights) or norm (the lengths of its contributions).",
        default="evidence",
        check=one_of("evidence", "attention", "norm"),
    ),
]
LearningMasks = Annotated[
    int,
    Option(
        "Number of random halves of the sources to test each answer with; each costs one run of the model.",
        default=32,
        check=between(4, MOST_MASKS, "a number of masks"),
    ),
]
HeldOut = Annotated[
    int | None,
    Option(
        "Number of answers to hold out for judging the weights.",
        otherwise="a third of them",
        check=at_least(6, "a number of answers for a test"),
    ),
]
Passes = Annotated[
    Sequence[int],
    Option(
        "Compare with ContextCite at these numbers of runs of the model, on the held-out answers; an empty list "
        "skips it.",
        default=(16, 32),
        spelling=NUMBERS,
    ),
]
