"""Every option that people choose: its type, default, check and help text, once for all verbs that take it.

What an option means for one verb alone stands here too, with `Option.but`. Those of whole data sets: `data`;
of answers: `answering`. Who takes which: `sets` and `verbs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from contextmix.options.option import Option, at_least, one_of
from contextmix.options.spelling import ALL_OR_NAMES, LAYERS, NAMES, PAIRS, PLACES, TEXT, TEXTS, TOKEN
from contextmix.options.values import (
    MEMORY_BUDGET,
    OF_REPRESENTATION,
    OF_SCORE,
    REFERENCE,
    SANITY_ROWS,
    Asked,
    Layers,
    OfEach,
    Progress,
    Removal,
    Scorer,
    SuiteName,
    precision,
)

# The model -----------------------------------------------------------------------------------------------------------

MODEL = Option(
    "A built-in model ('demo', 'demo-decoder', 'demo-answers'), a folder, or a name on the Hugging Face Hub.",
    python="Or a loaded model.",
    default="demo",
    spelling=TEXT,
)
Model = Annotated[Any, MODEL]
RowsModel = Annotated[Any, MODEL.but(default=None, otherwise="demo; for answers demo-answers")]
Dtype = Annotated[
    str, Option("Precision to load a named model in; 'auto' keeps the stored one.", default="float32", check=precision)
]
Device = Annotated[str | None, Option("Where to run, such as cuda.", otherwise="where the model is")]
DeviceMap = Annotated[
    str | Mapping[str, Any] | None,
    Option(
        "Which parts of a named model go where, for models larger than the memory of one device: auto, or a table of "
        "modules and places (a device, cpu or disk).",
        python="As for ``from_pretrained``; needs accelerate.",
        otherwise="all on one device",
        spelling=PLACES,
    ),
]
NewHead = Annotated[
    bool,
    Option(
        "Let a head that is not in the checkpoint begin with random weights, to be trained; missing blocks and "
        "embeddings are refused all the same.",
        default=False,
    ),
]

# What is explained ---------------------------------------------------------------------------------------------------

METHOD = Option(
    "A name from 'contextmix methods', or a map and an aggregation, as in norm+rollout.",
    otherwise="evidence for what a decoder says next, globenc for other models",
)
MethodName = Annotated[str | None, METHOD]
METHODS = Option("Names from 'contextmix methods'; one run of the model serves all mixing maps.", spelling=NAMES)
OWN = "Functions from a text to one score per token may stand among them, in this process; see docs/other-tools.md."
Methods = Annotated[
    str | Scorer | Sequence[str | Scorer] | None,
    METHODS.but(python=OWN, otherwise=f"{OF_REPRESENTATION}; of answers {OF_SCORE}", flag="--method"),
]
AllMethods = Annotated[
    str | Scorer | Sequence[str | Scorer],
    METHODS.but(
        python=OWN,
        help="Names from 'contextmix methods', or 'all': all but slow ones, single steps of others, and what the model "
        "does not support. 'random' always takes part.",
        default="all",
        spelling=ALL_OR_NAMES,
    ),
]
MethodNames = Annotated[Sequence[str], METHODS]
ExploredMethods = Annotated[
    Sequence[str] | None,
    METHODS.but(
        help="Names from 'contextmix methods'; the first one is shown first.",
        otherwise="what one run of the model gives, and gradient_inputs where there is a score to explain",
        lenient=True,
    ),
]
MapName = Annotated[str, METHOD.but(help="Name of a mixing map, from 'contextmix methods'.", otherwise="")]
AggregationName = Annotated[str, Option("Name of an aggregation, from 'contextmix methods'.")]
Stream = Annotated[
    str | None,
    Option(
        "Of an encoder–decoder: encoder, decoder (its self-attention) or cross, whose keys are the source tokens and, "
        "in maps with the residual, '[residual]' last."
    ),
]
QUERY = Option(
    "The token to explain, by text or position.", otherwise="the first; the last of a decoder", spelling=TOKEN
)
Query = Annotated[int | str | None, QUERY]
QueryOrAll = Annotated[
    int | str | None,
    QUERY.but(help="Only the row of this token, by text or position: the result has no query axis.", otherwise="all"),
]
FirstQuery = Annotated[
    int | str | None,
    QUERY.but(
        help="The token to look at first, by text or position. Methods of the whole model explain its scores, where "
        "the model has scores at each token.",
        otherwise="the first; the last of a decoder; the only mask",
    ),
]
TARGET = Option(
    "The score to explain, for methods that explain one: a class by name or number, or 'all' classes; of a language "
    "model a token by text or id.",
    python="Two of them explain how far the first is above the second.",
    otherwise="the predicted one",
    spelling=TEXT,
    lenient=True,
)
Target = Annotated[Asked, TARGET]
GoldTarget = Annotated[
    Asked, TARGET.but(help="The class to explain, by name or number; 'gold' for each row's label, 'all' for all.")
]
Against = Annotated[str | None, Option("Explain how far the target's score is above this one's.")]
Position = Annotated[
    int | str | None,
    Option(
        "Of a language model: the token, by text or position, after which the next one is explained; of a masked one "
        "the token to fill in.",
        otherwise="the last; the only mask",
        spelling=TOKEN,
    ),
]
LAYERS_SHOWN = Option("Blocks to show: 'all', or numbers such as 0,5 or -1.", spelling=LAYERS, lenient=True)
ShownLayers = Annotated[Layers, LAYERS_SHOWN.but(otherwise="the last one of an attribution, all of a mixing map")]
KeptLayers = Annotated[
    Layers, LAYERS_SHOWN.but(help="Blocks to keep: 'all', or numbers such as 0,5 or -1.", otherwise="the last one")
]
AllLayers = Annotated[Layers, LAYERS_SHOWN.but(help="Blocks to keep: 'all', or numbers such as 0,5.", default="all")]
Aggregation = Annotated[
    str | None, Option("How a mixing map is combined across layers, such as rollout; a recipe brings its own.")
]
METHOD_OPTIONS = Option(
    "Options of methods, such as value_zeroing.distance=euclidean.",
    python="Here: name → its options.",
    spelling=TEXTS,
    flag="--option",
)
MethodOptions = Annotated[OfEach, METHOD_OPTIONS]
OwnOptions = Annotated[
    Mapping[str, Any],
    METHOD_OPTIONS.but(help="Option of the method, such as distance=euclidean.", python="", spelling=PAIRS),
]
Heads = Annotated[bool, Option("Keep heads apart, for methods that have heads.", default=False)]
TowerMaps = Annotated[
    str | None,
    Option(
        "Of a prompt with images: 'through' to go on from its image places to the patches that the image tower reads, "
        "'alone' for the map of the tower itself.",
        otherwise="rows end at the image places",
        check=one_of("through", "alone"),
    ),
]
Words = Annotated[bool, Option("Merge sub-words into words.", default=False)]
TRUNCATE = Option("Cut an input that is too long instead of refusing it.", default=False)
Truncate = Annotated[bool, TRUNCATE]
TruncateRow = Annotated[
    bool,
    TRUNCATE.but(
        help="Cut a text that is too long instead of refusing it; of a context that is too long leave out the last "
        "sources."
    ),
]
AddSpecialTokens = Annotated[
    bool | None,
    Option(
        "Whether the tokenizer adds its special tokens, such as <s>, to a text.",
        otherwise="it does, unless the text already holds them",
    ),
]
SamplingRate = Annotated[int | None, Option("Samples per second, for a sound that does not say it.", lenient=True)]
BatchSize = Annotated[int, Option("Sequences of equal length that run together.", default=8)]
Memory = Annotated[
    int,
    Option(
        "Bytes that a method of the whole model, or a block of rows of a long input, may use for its own tensors.",
        default=MEMORY_BUDGET,
    ),
]
Told = Annotated[
    Progress | None,
    Option("Called as progress(done, what) before each step, with done from 0 to 1. What it raises ends the work."),
]

# How scores are judged -----------------------------------------------------------------------------------------------

METRICS = Option(
    "Names from 'contextmix metrics': a column 'metric:method' for each. Where one is not defined for a text, the "
    "notes say why.",
    default=(),
    spelling=NAMES,
)
Metrics = Annotated[str | Sequence[str], METRICS]
AllMetrics = Annotated[
    str | Sequence[str],
    METRICS.but(
        help="Names from 'contextmix metrics', or 'all' that the data support, without near duplicates.",
        default="all",
        spelling=ALL_OR_NAMES,
    ),
]
MetricOptions = Annotated[
    OfEach,
    Option(
        "Options of metrics, such as token_f1.top=5.",
        python="Here: name → its options.",
        spelling=TEXTS,
        flag="--metric-option",
    ),
]
Reference = Annotated[
    str, Option("The method that metrics such as spearman compare with; it is measured too.", default=REFERENCE)
]
REMOVAL = Option(
    "What replaces a token that metrics take away: mask, delete, unknown, pad, masked_keys, zero or infill.",
    default="mask",
    check=one_of(*get_args(Removal)),
)
RemovalChoice = Annotated[Removal, REMOVAL]
UsualRemoval = Annotated[
    Removal | None, REMOVAL.but(default=None, otherwise="mask; delete if there is no mask, or for a decoder")
]
SEED = Option("Random seed.", default=0)
Seed = Annotated[int, SEED]
WeightsSeed = Annotated[int, SEED.but(help="Random seed of the weights that randomised_weights compares with.")]
RandomisedRows = Annotated[
    int | None, Option("Compute the metric randomised_weights for this many rows only, from the first.")
]
Suite = Annotated[
    SuiteName | None,
    Option(
        "A fixed comparison by its name: its methods (unless methods are named), metrics and removals for the model's "
        "kind.",
        check=one_of(*get_args(SuiteName)),
    ),
]
Sanity = Annotated[
    int,
    Option(
        "Texts for the check with random weights.",
        default=SANITY_ROWS,
        check=at_least(1, "a number of texts for the check with random weights"),
    ),
]
