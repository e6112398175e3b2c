"""What a kernel of ``make lab`` knows from its start: the numbers of the text, none of them measured yet."""

from llmrec_lite.glued import glued  # noqa: F401
