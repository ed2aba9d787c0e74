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
QueryField = Annotated[str | None, _column("the token to explain in each row, by text or position")]
RationaleField = Annotated[
    str | None, _column("human annotations: 0 or 1 per word, character ranges [start, end), or one list per annotator")
]
QuestionField = Annotated[
    str | None,
    Option("Column of the questions, or of chats.", otherwise="question or messages, whichever exists"),
]
ContextField = Annotated[
    str | None,
    _column("the context of each question: a text, or a list of texts").but(otherwise="context, if there is one"),
]
AnswerField = Annotated[
    str | None,
    _column("the answers to explain; the model writes any that are missing").but(otherwise="answer, if there is one"),
]
TagsField = Annotated[str | None, _column("the parts of speech, one per word, for experiments that need them")]
Split = Annotated[str | None, Option("Split of a named data set, e.g. validation.")]
Limit = Annotated[int | None, Option("Read only the first N rows.")]


# How the work is done ------------------------------------------------------------------------------------------------

Task = Annotated[
    Literal["explain", "answer"],
    Option(
        "What to do with each row: explain (score a text's tokens) or answer (answer a question and find the sources "
        "of the answer).",
        default="explain",
        check=one_of("explain", "answer"),
    ),
]
Maps = Annotated[bool, Option("Also keep the full token × token maps.", default=False)]
ShardSize = Annotated[
    int | None,
    Option(
        "Number of rows to sort and write together.",
        otherwise=f"{SHARD_SIZE}, or up to {LARGEST_SHARD} if the data fills {ENOUGH_SHARDS} of that size; for "
        f"answers {ANSWERS_SIZE}",
        check=at_least(1, "a number of rows"),
    ),
]
BatchTokens = Annotated[
    int,
    Option(
        "Maximum number of tokens to run together. Changing it changes the last bits of the results.",
        default=BATCH_TOKENS,
    ),
]
BatchMemory = Annotated[
    int,
    Option(
        "Estimated memory that a batch may use in addition to the model.",
        python="In bytes.",
        default=MEMORY_BUDGET,
        otherwise="1 GiB",
        spelling=MIB,
        flag="--memory",
    ),
]
WORKERS = Option(
    "Number of worker processes (Ray: actors), each with its own copy of the model.",
    default=1,
    check=at_least(1, "a number of processes"),
)
Workers = Annotated[int, WORKERS]
UsualWorkers = Annotated[
    int | None, WORKERS.but(default=None, otherwise="one per processor for a small model, at most 4")
]
Engine = Annotated[Literal["local", "ray"], Option("'local' or 'ray'.", default="local")]
Address = Annotated[str | None, Option("Address of a Ray cluster.", otherwise="start a cluster on this machine")]
Strict = Annotated[bool, Option("Stop at the first row that cannot be explained.", default=False)]
RetryFailed = Annotated[bool, Option("Retry rows that failed before.", default=False)]
Overwrite = Annotated[bool, Option("Overwrite the output file if it exists.", default=False, flag="--force")]
ShowProgress = Annotated[bool, Option("Show progress on the standard error stream.", default=True)]
Only = Annotated[Sequence[str] | None, Option("Experiments of the study to run.", otherwise="all", spelling=NAMES)]
OtherModel = Annotated[Any, Option("Second model, for experiments that compare two.", spelling=TEXT)]
Tagger = Annotated[
    str | None,
    Option("Name of a spaCy pipeline that finds parts of speech if no column has them, e.g. en_core_web_sm."),
]
