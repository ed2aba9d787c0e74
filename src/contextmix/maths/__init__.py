"""Pure functions of tensors: one formula, one function."""
