"""ALTI across layers: which input tokens made each token of the last layer?

The rollout of `alti`. The residual is in the map, so none is added.
"""

from contextmix.plugins.contracts import Recipe
from contextmix.plugins.papers import FERRANDO_2022

METHOD = Recipe(
    name="alti_rollout",
    title="ALTI rollout",
    method="alti",
    aggregation="rollout",
    formula="rollout of ALTI's contributions",
    paper=FERRANDO_2022,
    cost="about half a forward pass more than one",
)
