"""What experiments share: their contract, their reports, published numbers, and data that several of them read."""
