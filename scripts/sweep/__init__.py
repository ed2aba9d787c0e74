"""Try every model type of the installed transformers on a tiny random model of it; see `python -m scripts.sweep`."""
