"""What people hold: maps with their labels and origin, several of them side by side, and their files.

Not how they are drawn (`views`) or computed (`methods`, `models`).
"""
