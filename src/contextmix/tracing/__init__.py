"""The only room that runs a model.

``inputs`` makes model inputs of what people give. ``recording`` runs a model and proves what passed. ``discovery``
finds the parts of its blocks. ``runs`` builds on all three: changed inputs, generation, two stacks, random weights.
"""
