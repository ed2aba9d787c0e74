"""What the scores of a model mean, read from what its configuration says of the head's problem."""

from __future__ import annotations

from transformers import PreTrainedModel

from contextmix.traces.meaning import Meaning
from contextmix.tracing.inputs.heads import answers_questions, speaks

_PROBLEMS = {
    "single_label_classification": Meaning.ONE_OF,
    "multi_label_classification": Meaning.EACH,
    "regression": Meaning.AMOUNTS,
}


def meaning_of(model: PreTrainedModel, count: int) -> Meaning:
    """What the scores of a model mean.

    A language model says one token of its vocabulary. A head of classes is trained on what ``config.problem_type``
    names; where it names nothing, transformers takes one output for a regression and several for classes that exclude
    each other. An unknown problem is no reason to make up probabilities.

    Args:
        model: The model.
        count: How many scores it gives.
    """
    if answers_questions(model):
        return Meaning.AMOUNTS
    if speaks(model):
        return Meaning.ONE_OF
    problem = getattr(model.config, "problem_type", None)
    found = Meaning.ONE_OF if problem is None else _PROBLEMS.get(problem, Meaning.AMOUNTS)
    return Meaning.AMOUNTS if found is Meaning.ONE_OF and count == 1 else found
