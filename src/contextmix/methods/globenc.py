"""GlobEnc: which input tokens made each token of the last layer?

The rollout of `norm_encoder`, un-normalised, in float64. This is what the paper calls GlobEnc.
"""

from contextmix.plugins.contracts import Recipe
from contextmix.plugins.papers import MODARRESSI_2022

METHOD = Recipe(
    name="globenc",
    title="GlobEnc",
    method="norm_encoder",
    aggregation="rollout",
    formula="rollout of N_Enc",
    paper=MODARRESSI_2022,
    cost="about a forward pass",
)
