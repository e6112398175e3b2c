"""Numbers that the prose of a notebook shows: kept when a cell has measured them, looked up where text names them.

A cell assigns ``glued.gain = f"{gain:.3f}"`` (or ``glued[f"gain_{k}"] = ...``), and a sentence says
``{eval}`glued.gain` ``. JupyterLab evaluates the expression once the cells have run; the book's site, which executes
the cells beforehand, finds the value among their outputs. So one assignment serves both.
"""

from typing import Any

from llmrec_lite.errors import SettingError

DASH = "–"  # what a reader sees in place of a number that is not measured yet
PREFIX = "application/papermill.record/"  # of the MIME type that keeps an output from being shown, as myst-nb has it


class Glued:
    """A namespace of displayed values; a name without a value reads as a dash."""

    _values: dict[str, str]

    def __init__(self) -> None:
        object.__setattr__(self, "_values", {})

    def __setitem__(self, name: str, value: Any) -> None:
        """Keep a value as the text that ``str`` makes of it, and write it into the cell's output, unseen.

        Raises:
            SettingError: the name is no text, or is empty.
        """
        if not isinstance(name, str) or not name:
            raise SettingError(f"{name!r} names no value: use a text, such as glued['gain']")
        from IPython.display import display

        self._values[name] = text = str(value)
        metadata = {"scrapbook": {"name": name, "mime_prefix": PREFIX}}
        display({f"{PREFIX}text/plain": repr(text)}, raw=True, metadata=metadata)

    def __getitem__(self, name: str) -> str:
        return self._values.get(name, DASH)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):  # IPython asks objects for _repr_html_ and the like
            raise AttributeError(name)
        return self[name]

    def __dir__(self) -> list[str]:
        return sorted(self._values)


glued = Glued()
