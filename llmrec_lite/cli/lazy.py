"""Modules that are imported when they are first used, so that a command does not wait for what it does not need."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Module that is imported when one of its names is asked for.

    `importlib.util.LazyLoader` imports at the import statement in Python 3.11, which looks at the module's `__spec__`.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # who looks through all modules does not want this one
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_later(name: str) -> None:
    """Let an import of a module that is not imported yet be done when one of its names is first asked for.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = _Later(name)
    module.__spec__, module.__file__ = spec, spec.origin
    if spec.submodule_search_locations is not None:
        module.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = module
