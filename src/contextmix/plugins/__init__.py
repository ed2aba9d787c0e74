"""What a method, an aggregation or a metric promises, what it is given, and how it is found by its name.

Not the methods themselves: each is one file in `methods`, `aggregations` or `metrics`.
"""
