"""One run of a model, recorded block by block, and the checks that prove the recording.

Not where the parts of a block are: that is found in `discovery` and comes as an `Anatomy`.
"""
