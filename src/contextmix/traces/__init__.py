"""What a run of a model leaves behind: where the parts of its blocks are, and what passed through them.

Not the run itself (`tracing`). Everything here is data and pure functions of it.
"""
