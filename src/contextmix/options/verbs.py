"""What the verbs of one model take: typed dictionaries, as those of whole data sets in `contextmix.options.sets`."""

from typing_extensions import TypedDict

from contextmix.options.answering import (
    Ablate,
    AnswerMethod,
    AnswerText,
    AwayBy,
    LeaveOut,
    MaskCount,
    Rewrite,
    Sources,
    Units,
)
from contextmix.options.catalogue import (
    AllLayers,
    BatchSize,
    FirstQuery,
    Heads,
    Memory,
    MethodOptions,
    SamplingRate,
    Target,
    Told,
    TowerMaps,
    Truncate,
)
from contextmix.options.sets import Encoding, Replying
from contextmix.options.writing import Generation, MaxWritten, Output


class Computing(TypedDict, total=False):
    """How an explanation is computed; it changes no number."""

    batch_size: BatchSize
    memory_budget: Memory


class Explaining(Computing, Encoding, total=False):
    """What every ``explain`` takes beside what it names and the options of the method."""


class ExplainingImages(Explaining, total=False):
    """What `TracedModel.explain` takes: the same, and what may be asked of a prompt with images."""

    tower: TowerMaps


class Writing(Explaining, total=False):
    """The same of an encoder–decoder."""

    max_new_tokens: MaxWritten
    generation: Generation


class ExploreOptions(Encoding, total=False):
    """What every ``explore`` takes."""

    heads: Heads
    query: FirstQuery
    target: Target
    layers: AllLayers
    options: MethodOptions
    truncate: Truncate
    sampling_rate: SamplingRate
    memory_budget: Memory
    progress: Told


class ExploreImagesOptions(ExploreOptions, total=False):
    """What `TracedModel.explore` takes: the same, and what may be asked of a prompt with images."""

    tower: TowerMaps


class ExploreWrittenOptions(ExploreOptions, total=False):
    """What `TracedEncoderDecoder.explore` takes."""

    output: Output
    max_new_tokens: MaxWritten
    generation: Generation


class Ablating(TypedDict, total=False):
    """What an answer loses without its sources."""

    ablate: Ablate
    away: AwayBy
    masks: MaskCount
    rewrite: Rewrite


class AnswerOptions(Encoding, Replying, Ablating, total=False):
    """What `TracedModel.explain_answer` takes beside what it names and the options of the method."""

    truncate: LeaveOut
    memory_budget: Memory


class Answering(AnswerOptions, total=False):
    """The same with what it names, where text alone can be given: on the command line and by a page."""

    answer: AnswerText
    sources: Sources
    units: Units
    method: AnswerMethod
