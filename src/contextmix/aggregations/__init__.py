"""One file per way across layers, and one constant AGGREGATION."""
