"""What people look at: each view reads a TokenMap and knows nothing else."""
