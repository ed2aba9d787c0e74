"""Runs of a whole model for a purpose: again on changed inputs, to write something, both stacks, random weights."""
