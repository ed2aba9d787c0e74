"""Runs over whole data sets.

``reading`` gives rows. ``storage`` is the folder of results. ``running`` goes from one to the other, and resumes.
"""
