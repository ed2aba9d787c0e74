"""A model that can be asked: the verbs `load`, `explain`, `compare`, `explore` and what stands behind them.

How a model is run is in `tracing`, what is computed of a run in `methods`.
"""
