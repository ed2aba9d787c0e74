"""Value Zeroing across layers: its maps, rows summing to one, multiplied without adding an identity.

The rollout of `value_zeroing`. Stochastic matrices multiply to a stochastic matrix.
"""

from contextmix.plugins.contracts import Recipe
from contextmix.plugins.papers import MOHEBBI_2023

METHOD = Recipe(
    name="value_zeroing_rollout",
    title="Value Zeroing rollout",
    method="value_zeroing",
    aggregation="rollout",
    formula="rollout of C",
    paper=MOHEBBI_2023,
    cost="about 0.3·n forward passes",
)
