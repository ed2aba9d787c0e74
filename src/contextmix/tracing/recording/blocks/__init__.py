"""What stands in a block beside plain attention and feed-forward parts, and between blocks."""
