"""Which options each verb takes: typed dictionaries, for ``**options: Unpack[RunOptions]``."""

from typing_extensions import TypedDict

from contextmix.options.answering import (
    AnswerLength,
    Dependence,
    HeadFeature,
    HeldOut,
    Hops,
    LearningMasks,
    Passes,
    Sources,
    Template,
    Thoughts,
    Units,
)
from contextmix.options.catalogue import (
    AddSpecialTokens,
    Against,
    AllMethods,
    AllMetrics,
    Device,
    DeviceMap,
    Dtype,
    GoldTarget,
    KeptLayers,
    MethodOptions,
    Methods,
    MetricOptions,
    Metrics,
    Model,
    Query,
    RandomisedRows,
    Reference,
    RemovalChoice,
    RowsModel,
    Sanity,
    Seed,
    Suite,
    Target,
    Truncate,
    TruncateRow,
    UsualRemoval,
    WeightsSeed,
    Words,
)
from contextmix.options.data import (
    Address,
    AnswerField,
    BatchMemory,
    BatchTokens,
    ContextField,
    Engine,
    IdField,
    LabelField,
    Limit,
    Maps,
    Only,
    OtherModel,
    Overwrite,
    PairField,
    QueryField,
    QuestionField,
    RationaleField,
    RetryFailed,
    ShardSize,
    ShowProgress,
    Split,
    Strict,
    Tagger,
    TagsField,
    Task,
    TextField,
    UsualWorkers,
    Workers,
)
from contextmix.options.writing import Generation


class Precision(TypedDict, total=False):
    """How a model is loaded."""

    dtype: Dtype
    device: Device
    device_map: DeviceMap


class Loading(TypedDict, total=False):
    """The model and how it is loaded."""

    model: Model
    dtype: Dtype
    device: Device
    device_map: DeviceMap


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


class Asking(TypedDict, total=False):
    """Which columns of a data set hold questions, and what belongs to them."""

    question_field: QuestionField
    context_field: ContextField
    answer_field: AnswerField


class Encoding(TypedDict, total=False):
    """How a text is read."""

    add_special_tokens: AddSpecialTokens


class Measuring(Encoding, total=False):
    """What is done with each row, whatever it holds."""

    task: Task
    methods: Methods
    options: MethodOptions
    truncate: TruncateRow


class Scoring(TypedDict, total=False):
    """What is measured of each text."""

    query: Query
    target: GoldTarget
    layers: KeptLayers
    words: Words
    maps: Maps
    metrics: Metrics
    metric_options: MetricOptions
    reference: Reference
    removal: RemovalChoice
    seed: WeightsSeed
    randomised_rows: RandomisedRows


class Replying(TypedDict, total=False):
    """How a question is placed and answered."""

    max_new_tokens: AnswerLength
    generation: Generation
    template: Template
    dependence: Dependence
    thoughts: Thoughts
    hops: Hops


class AnsweringRows(Replying, total=False):
    """How questions of a data set are answered, and what answers and their contexts are cut into."""

    sources: Sources
    units: Units


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
    suite: Suite


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


class RunOptions(Precision, Measuring, Scoring, AnsweringRows, Asking, Reading, Working, total=False):
    """What `contextmix.run` takes."""

    model: RowsModel
    workers: Workers


class EvaluateOptions(Loading, Comparing, Reading, Working, total=False):
    """What `contextmix.evaluate` takes."""

    workers: UsualWorkers


class Learning(Precision, Asking, Encoding, total=False):
    """What weights of heads are learned from, and how they are judged."""

    max_new_tokens: AnswerLength
    generation: Generation
    template: Template
    text_field: TextField
    id_field: IdField
    split: Split
    limit: Limit
    sources: Sources
    feature: HeadFeature
    masks: LearningMasks
    held_out: HeldOut
    passes: Passes
    seed: Seed
    overwrite: Overwrite
    progress: ShowProgress


class FitOptions(Learning, total=False):
    """What `contextmix.fit` takes."""

    model: Model


class ReproduceOptions(Loading, Repeating, Reading, Working, total=False):
    """What `contextmix.reproduce` takes."""

    workers: Workers


class Contrasting(TypedDict, total=False):
    """A score that is explained, where text alone can be given: on the command line and by a page."""

    target: Target
    against: Against
