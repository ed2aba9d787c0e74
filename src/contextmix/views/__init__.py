"""What people look at. Each view reads results and knows nothing of models.

``drawing`` decides once what is shown. ``terminal``, ``page`` and ``figures`` draw it.
"""
