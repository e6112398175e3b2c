"""Checks of the notebooks, and the student versions of the assignments.

``python -m book.tools.checks`` prints one line a complaint and exits with 1 if there is any;
``python -m book.tools.checks release`` writes the student versions. A check is a function that takes a
notebook and returns its complaints, so that each can be read and tested alone.
"""
