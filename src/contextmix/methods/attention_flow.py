"""Attention flow: attention weights with half residual as pipes, and the most that could stream through them.

The flow of `attention_fixed_residual`, rows divided by their sums.
"""

from contextmix.plugins.contracts import Recipe
from contextmix.plugins.papers import ABNAR_2020

METHOD = Recipe(
    name="attention_flow",
    title="Attention flow",
    method="attention_fixed_residual",
    aggregation="flow",
    formula="maximum flow through ½ W + ½ I, rows divided by their sums",
    paper=ABNAR_2020,
    cost="n maximum flows for one query, L·n² for all",
    aggregation_options={"rows": "shares"},
)
