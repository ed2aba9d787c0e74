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
    str,
    Option(
        "Precision in which to load a model given by name; 'auto' keeps the stored precision.",
        default="float32",
        check=precision,
    ),
]
Device = Annotated[str | None, Option("Device to run on, e.g. cuda.", otherwise="the model's own device")]
DeviceMap = Annotated[
    str | Mapping[str, Any] | None,
    Option(
        "Where to put each part of a model that is too large for one device: 'auto', or a table from modules to "
        "places (a device, cpu or disk).",
        python="As for ``from_pretrained``; needs accelerate.",
        otherwise="everything on one device",
        spelling=PLACES,
    ),
]
NewHead = Annotated[
    bool,
    Option(
        "If the checkpoint has no head, start it from random weights, to be trained. Missing blocks and embeddings "
        "are still refused.",
        default=False,
    ),
]

# What is explained ---------------------------------------------------------------------------------------------------

METHOD = Option(
    "A method from 'contextmix methods', or a map plus an aggregation, e.g. norm+rollout.",
    otherwise="evidence for a decoder's next token, globenc for other models",
)
MethodName = Annotated[str | None, METHOD]
METHODS = Option("Methods from 'contextmix methods'. All mixing maps share one run of the model.", spelling=NAMES)
OWN = "May include functions that map a text to one score per token, in this process; see docs/other-tools.md."
Methods = Annotated[
    str | Scorer | Sequence[str | Scorer] | None,
    METHODS.but(python=OWN, otherwise=f"{OF_REPRESENTATION}; of answers {OF_SCORE}", flag="--method"),
]
AllMethods = Annotated[
    str | Scorer | Sequence[str | Scorer],
    METHODS.but(
        python=OWN,
        help="Methods from 'contextmix methods'. 'all' skips slow methods, single steps of other methods, and "
        "methods that the model does not support. 'random' is always included.",
        default="all",
        spelling=ALL_OR_NAMES,
    ),
]
MethodNames = Annotated[Sequence[str], METHODS]
ExploredMethods = Annotated[
    Sequence[str] | None,
    METHODS.but(
        help="Methods from 'contextmix methods'; the first is shown first.",
        otherwise="the methods that one run of the model covers, plus gradient_inputs if there is a score to explain",
        lenient=True,
    ),
]
MapName = Annotated[str, METHOD.but(help="Name of a mixing map, from 'contextmix methods'.", otherwise="")]
AggregationName = Annotated[str, Option("Name of an aggregation, from 'contextmix methods'.")]
Stream = Annotated[
    str | None,
    Option(
        "For an encoder–decoder: encoder, decoder (its self-attention) or cross. The keys of cross are the source "
        "tokens; maps that include the residual add '[residual]' at the end."
    ),
]
QUERY = Option(
    "The token to explain, by text or position.", otherwise="the first token; for a decoder the last", spelling=TOKEN
)
Query = Annotated[int | str | None, QUERY]
QueryOrAll = Annotated[
    int | str | None,
    QUERY.but(
        help="Keep only the row of this token, by text or position; the result then has no query axis.", otherwise="all"
    ),
]
FirstQuery = Annotated[
    int | str | None,
    QUERY.but(
        help="The token to show first, by text or position. If the model scores each token, methods of the whole "
        "model explain this token's scores.",
        otherwise="the first token; for a decoder the last; the mask if there is only one",
    ),
]
TARGET = Option(
    "The score to explain, for methods that explain scores: a class by name or number, or 'all' classes; for a "
    "language model a token by text or id.",
    python="Give two to explain the difference between the first and the second.",
    otherwise="the prediction",
    spelling=TEXT,
    lenient=True,
)
Target = Annotated[Asked, TARGET]
GoldTarget = Annotated[
    Asked,
    TARGET.but(help="The class to explain, by name or number; 'gold' for each row's label, 'all' for every class."),
]
Against = Annotated[str | None, Option("Explain the difference between the target's score and this one's.")]
Position = Annotated[
    int | str | None,
    Option(
        "For a language model: explain the prediction after this token, by text or position. For a masked language "
        "model: the token to fill in.",
        otherwise="the last token; the mask if there is only one",
        spelling=TOKEN,
    ),
]
LAYERS_SHOWN = Option("Blocks to show: 'all', or numbers, e.g. 0,5 or -1.", spelling=LAYERS, lenient=True)
ShownLayers = Annotated[
    Layers, LAYERS_SHOWN.but(otherwise="the last block for attributions, all blocks for mixing maps")
]
KeptLayers = Annotated[
    Layers, LAYERS_SHOWN.but(help="Blocks to keep: 'all', or numbers, e.g. 0,5 or -1.", otherwise="the last block")
]
AllLayers = Annotated[Layers, LAYERS_SHOWN.but(help="Blocks to keep: 'all', or numbers, e.g. 0,5.", default="all")]
Aggregation = Annotated[
    str | None, Option("How to combine a mixing map across layers, e.g. rollout. Recipes set their own.")
]
METHOD_OPTIONS = Option(
    "Method option, e.g. value_zeroing.distance=euclidean.",
    python="In Python: a dictionary from names to their options.",
    spelling=TEXTS,
    flag="--option",
)
MethodOptions = Annotated[OfEach, METHOD_OPTIONS]
OwnOptions = Annotated[
    Mapping[str, Any],
    METHOD_OPTIONS.but(help="Method option, e.g. distance=euclidean.", python="", spelling=PAIRS),
]
Heads = Annotated[bool, Option("Show heads separately, for methods that have heads.", default=False)]
TowerMaps = Annotated[
    str | None,
    Option(
        "For a prompt with images: 'through' traces image places back to the patches that the image tower reads; "
        "'alone' gives the tower's own map.",
        otherwise="rows stop at the image places",
        check=one_of("through", "alone"),
    ),
]
Words = Annotated[bool, Option("Merge sub-words into words.", default=False)]
TRUNCATE = Option("Truncate inputs that are too long instead of refusing them.", default=False)
Truncate = Annotated[bool, TRUNCATE]
TruncateRow = Annotated[
    bool,
    TRUNCATE.but(
        help="Truncate texts that are too long instead of refusing them; from a context that is too long, drop the "
        "last sources."
    ),
]
AddSpecialTokens = Annotated[
    bool | None,
    Option(
        "Let the tokenizer add its special tokens, e.g. <s>.",
        otherwise="yes, unless the text already contains them",
    ),
]
SamplingRate = Annotated[int | None, Option("Samples per second, for a sound that does not state it.", lenient=True)]
BatchSize = Annotated[int, Option("Number of sequences of equal length to run together.", default=8)]
Memory = Annotated[
    int,
    Option(
        "Memory in bytes that a method of the whole model, or a block of rows of a long input, may use for its own "
        "tensors.",
        default=MEMORY_BUDGET,
    ),
]
Told = Annotated[
    Progress | None,
    Option(
        "Called as progress(done, what) before each step, with done from 0 to 1. An exception that it raises "
        "stops the work."
    ),
]

# How scores are judged -----------------------------------------------------------------------------------------------

METRICS = Option(
    "Metrics from 'contextmix metrics'; each adds a column 'metric:method'. If a metric is undefined for a text, the "
    "notes say why.",
    default=(),
    spelling=NAMES,
)
Metrics = Annotated[str | Sequence[str], METRICS]
AllMetrics = Annotated[
    str | Sequence[str],
    METRICS.but(
        help="Metrics from 'contextmix metrics', or 'all' metrics the data support, without near-duplicates.",
        default="all",
        spelling=ALL_OR_NAMES,
    ),
]
MetricOptions = Annotated[
    OfEach,
    Option(
        "Metric option, e.g. token_f1.top=5.",
        python="In Python: a dictionary from names to their options.",
        spelling=TEXTS,
        flag="--metric-option",
    ),
]
Reference = Annotated[
    str, Option("The method that metrics such as spearman compare against. It is measured as well.", default=REFERENCE)
]
REMOVAL = Option(
    "How metrics remove a token: mask, delete, unknown, pad, masked_keys, zero or infill.",
    default="mask",
    check=one_of(*get_args(Removal)),
)
RemovalChoice = Annotated[Removal, REMOVAL]
UsualRemoval = Annotated[
    Removal | None, REMOVAL.but(default=None, otherwise="mask; delete for decoders and for models without a mask token")
]
SEED = Option("Random seed.", default=0)
Seed = Annotated[int, SEED]
WeightsSeed = Annotated[int, SEED.but(help="Random seed for the weights that randomised_weights compares against.")]
RandomisedRows = Annotated[int | None, Option("Compute the metric randomised_weights only for the first N rows.")]
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
        "Number of texts for the check with random weights.",
        default=SANITY_ROWS,
        check=at_least(1, "a number of texts for the check with random weights"),
    ),
]
