"""Rows from files, data sets by name and memory: counted, identified, and read from any row on. No model."""
