"""Chapters 16 and 17: what is known beside the interactions."""
