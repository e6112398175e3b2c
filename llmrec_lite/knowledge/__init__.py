"""Chapters 16 and 17: meta-knowledge and knowledge graphs."""
