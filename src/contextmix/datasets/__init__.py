"""Runs over whole data sets: read, batch, explain, write, resume."""
