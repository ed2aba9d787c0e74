"""Every option of whole data sets: which rows are read, and how the work is done. The others: `catalogue`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from contextmix.options.option import Option, at_least, one_of
from contextmix.options.spelling import MIB, NAMES, TEXT
from contextmix.options.values import (
    ANSWERS_SIZE,
    BATCH_TOKENS,
    ENOUGH_SHARDS,
    LARGEST_SHARD,
    MEMORY_BUDGET,
    SHARD_SIZE,
)

# Rows of a data set --------------------------------------------------------------------------------------------------


def _column(of: str) -> Option:
    return Option(f"Column of {of}.")


TextField = Annotated[str | None, _column("the texts")]
PairField = Annotated[str | None, _column("the second texts")]
LabelField = Annotated[str | None, _column("the labels")]
IdField = Annotated[str | None, _column("the ids")]
QueryField = Annotated[str | None, _column("each row's own token to explain, by text or position")]
RationaleField = Annotated[
    str | None, _column("what people marked: 0 or 1 per word, [start, end) of characters, or lists of several people")
]
QuestionField = Annotated[
    str | None,
    Option("Column of the questions, or of chats.", otherwise="question or messages, whichever the row has"),
]
ContextField = Annotated[
    str | None,
    _column("the context of each question: a text, or a list of texts").but(otherwise="context, if there is one"),
]
AnswerField = Annotated[
    str | None,
    _column("answers to explain; where one is missing, the model writes it").but(otherwise="answer, if there is one"),
]
TagsField = Annotated[str | None, _column("one part of speech per word, for experiments that need them")]
Split = Annotated[str | None, Option("Split of a data set by name, such as validation.")]
Limit = Annotated[int | None, Option("Only this many rows, from the first.")]


# How the work is done ------------------------------------------------------------------------------------------------

Task = Annotated[
    Literal["explain", "answer"],
    Option(
        "What is done with each row, by the name of its verb: explain (scores of a text) or answer (a question, and "
        "which sources made its answer).",
        default="explain",
        check=one_of("explain", "answer"),
    ),
]
Maps = Annotated[bool, Option("Keep the whole token × token maps too.", default=False)]
ShardSize = Annotated[
    int | None,
    Option(
        "Rows that are sorted and written together.",
        otherwise=f"{SHARD_SIZE}, and up to {LARGEST_SHARD} where the data has {ENOUGH_SHARDS} of that size; of "
        f"answers {ANSWERS_SIZE}",
        check=at_least(1, "a number of rows"),
    ),
]
BatchTokens = Annotated[
    int,
    Option(
        "Tokens that run together at most; another number changes the last bits of the results.", default=BATCH_TOKENS
    ),
]
BatchMemory = Annotated[
    int,
    Option(
        "Memory that a batch may take beside the model, by estimate.",
        python="In bytes.",
        default=MEMORY_BUDGET,
        otherwise="1 GiB",
        spelling=MIB,
        flag="--memory",
    ),
]
WORKERS = Option(
    "Processes, each with its own model; with Ray its actors.", default=1, check=at_least(1, "a number of processes")
)
Workers = Annotated[int, WORKERS]
UsualWorkers = Annotated[
    int | None, WORKERS.but(default=None, otherwise="for a small model one per processor, at most 4")
]
Engine = Annotated[Literal["local", "ray"], Option("'local' or 'ray'.", default="local")]
Address = Annotated[str | None, Option("Address of a Ray cluster.", otherwise="a cluster that is started here")]
Strict = Annotated[bool, Option("Stop at the first row that cannot be explained.", default=False)]
RetryFailed = Annotated[bool, Option("Measure rows again that failed before.", default=False)]
Overwrite = Annotated[bool, Option("Overwrite the output file if it exists.", default=False, flag="--force")]
ShowProgress = Annotated[bool, Option("Show progress on the standard error stream.", default=True)]
Only = Annotated[Sequence[str] | None, Option("Names of experiments of the study.", otherwise="all", spelling=NAMES)]
OtherModel = Annotated[Any, Option("A second model, for experiments that compare two.", spelling=TEXT)]
Tagger = Annotated[
    str | None,
    Option("The spaCy pipeline that finds parts of speech where no column holds them, such as en_core_web_sm."),
]
