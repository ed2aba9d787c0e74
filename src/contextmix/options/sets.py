"""Which options each verb takes: typed dictionaries, for ``**options: Unpack[RunOptions]``."""

from typing_extensions import TypedDict

from contextmix.options.answering import (
    Ablate,
    AnswerLength,
    AnswerMethod,
    AnswerText,
    AwayBy,
    Dependence,
    LeaveOut,
    MaskCount,
    Rewrite,
    Sources,
    Template,
    Units,
)
from contextmix.options.catalogue import (
    Address,
    AddSpecialTokens,
    Against,
    AllLayers,
    AllMethods,
    AllMetrics,
    BatchMemory,
    BatchSize,
    BatchTokens,
    Device,
    Dtype,
    Engine,
    FirstQuery,
    GoldTarget,
    Heads,
    IdField,
    KeptLayers,
    LabelField,
    Limit,
    Maps,
    Memory,
    MethodOptions,
    Methods,
    MetricOptions,
    Metrics,
    Model,
    Only,
    OtherModel,
    PairField,
    Query,
    QueryField,
    RandomisedRows,
    RationaleField,
    Reference,
    RemovalChoice,
    RetryFailed,
    SamplingRate,
    Sanity,
    Seed,
    ShardSize,
    ShowProgress,
    Split,
    Strict,
    Tagger,
    TagsField,
    Target,
    TextField,
    Told,
    Truncate,
    UsualRemoval,
    UsualWorkers,
    WeightsSeed,
    Words,
    Workers,
)
from contextmix.options.writing import Generation, MaxWritten, Output


class Precision(TypedDict, total=False):
    """How a model is loaded."""

    dtype: Dtype
    device: Device


class Loading(TypedDict, total=False):
    """The model and how it is loaded."""

    model: Model
    dtype: Dtype
    device: Device


class Reading(TypedDict, total=False):
    """Which columns and rows of a data set are read."""

    text_field: TextField
    pair_field: PairField
    label_field: LabelField
    id_field: IdField
    query_field: QueryField
    rationale_field: RationaleField
    split: Split
    limit: Limit


class Encoding(TypedDict, total=False):
    """How a text is read."""

    add_special_tokens: AddSpecialTokens


class Measuring(Encoding, total=False):
    """What is measured of each text."""

    methods: Methods
    options: MethodOptions
    query: Query
    target: GoldTarget
    layers: KeptLayers
    words: Words
    maps: Maps
    truncate: Truncate
    metrics: Metrics
    metric_options: MetricOptions
    reference: Reference
    removal: RemovalChoice
    seed: WeightsSeed
    randomised_rows: RandomisedRows


class Comparing(Encoding, total=False):
    """Which methods are compared, and how they are judged."""

    methods: AllMethods
    options: MethodOptions
    query: Query
    target: GoldTarget
    truncate: Truncate
    metrics: AllMetrics
    metric_options: MetricOptions
    reference: Reference
    removal: UsualRemoval
    seed: Seed
    sanity: Sanity


class Repeating(TypedDict, total=False):
    """Which experiments are done, and what some of them need."""

    only: Only
    seed: Seed
    truncate: Truncate
    other_model: OtherModel
    tags_field: TagsField
    tagger: Tagger


class Working(TypedDict, total=False):
    """How a run over a data set is done."""

    shard_size: ShardSize
    batch_tokens: BatchTokens
    memory_budget: BatchMemory
    engine: Engine
    address: Address
    strict: Strict
    retry_failed: RetryFailed
    progress: ShowProgress


class RunOptions(Loading, Measuring, Reading, Working, total=False):
    """What `contextmix.run` takes."""

    workers: Workers


class EvaluateOptions(Loading, Comparing, Reading, Working, total=False):
    """What `contextmix.evaluate` takes."""

    workers: UsualWorkers


class ReproduceOptions(Loading, Repeating, Reading, Working, total=False):
    """What `contextmix.reproduce` takes."""

    workers: Workers


class Contrasting(TypedDict, total=False):
    """A score that is explained, where text alone can be given: on the command line and by a page."""

    target: Target
    against: Against


class Computing(TypedDict, total=False):
    """How an explanation is computed; it changes no number."""

    batch_size: BatchSize
    memory_budget: Memory


class Explaining(Computing, Encoding, total=False):
    """What `TracedModel.explain` takes beside what it names and the options of the method."""


class Writing(Explaining, total=False):
    """The same of an encoder–decoder."""

    max_new_tokens: MaxWritten
    generation: Generation


class ExploreOptions(Encoding, total=False):
    """What `TracedModel.explore` takes."""

    heads: Heads
    query: FirstQuery
    target: Target
    layers: AllLayers
    options: MethodOptions
    truncate: Truncate
    sampling_rate: SamplingRate
    memory_budget: Memory
    progress: Told


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


class AnswerOptions(Encoding, Ablating, total=False):
    """What `TracedModel.explain_answer` takes beside what it names and the options of the method."""

    max_new_tokens: AnswerLength
    generation: Generation
    template: Template
    truncate: LeaveOut
    dependence: Dependence
    memory_budget: Memory


class Answering(AnswerOptions, total=False):
    """The same with what it names, where text alone can be given: on the command line and by a page."""

    answer: AnswerText
    sources: Sources
    units: Units
    method: AnswerMethod
