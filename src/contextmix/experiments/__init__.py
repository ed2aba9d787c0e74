"""The papers' tables and figures: one file per experiment, each with one constant `EXPERIMENT`."""
