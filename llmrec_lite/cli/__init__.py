"""The command `llmrec`."""

import sys
from importlib import import_module
from types import ModuleType


def _import_without(module: str, other: str) -> None:
    """Import a module that imports another one only to have its name: a real import of that waits for its first use."""
    if module in sys.modules or other in sys.modules:
        return
    sys.modules[other] = ModuleType(other)
    try:
        import_module(module)
    except ImportError:  # it needs more of the other than the name, and is imported as usual when its time comes
        return
    finally:
        del sys.modules[other]


# A second of every start. scikit-learn says `import scipy.stats`, which binds `scipy`, and looks for `stats` when used.
_import_without("sklearn.base", "scipy.stats")
