"""Attention rollout: attention weights, half residual, multiplied over layers.

The rollout of `attention_fixed_residual`.
"""

from contextmix.plugins.contracts import Recipe
from contextmix.plugins.papers import ABNAR_2020

METHOD = Recipe(
    name="attention_rollout",
    title="Attention rollout",
    method="attention_fixed_residual",
    aggregation="rollout",
    formula="rollout of ½ W + ½ I",
    paper=ABNAR_2020,
    cost="about a forward pass",
)
