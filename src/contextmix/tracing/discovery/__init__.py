"""Where a model keeps the parts of its blocks and of its head, found by looking at one run and then proved."""
