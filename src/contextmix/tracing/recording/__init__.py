"""One run of a model, heard block by block, and the checks that prove what was heard.

Not where the parts of a block are: that is found in `discovery` and comes as an `Anatomy`.
"""
