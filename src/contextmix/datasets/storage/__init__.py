"""The folder of a run: what was asked for, the tables, and how they are read again. Measures nothing."""
