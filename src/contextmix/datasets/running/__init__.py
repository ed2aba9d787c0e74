"""From rows to results: batches, workers, progress, interruption."""
