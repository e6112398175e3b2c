"""Experiments that take longer than a chapter may, one file a chapter: `python -m book.experiments run NAME`.

Settings are chosen on data cut from train, with the same number of tries for every model; test is touched once, by the
chosen setting. Chapters show what `book/results/NAME.json` holds.
"""
