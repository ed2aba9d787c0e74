"""What every view has in common: which numbers are shown, in which colours, with which words. Draws nothing."""
