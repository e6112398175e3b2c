"""The package of llmrec: what each chapter has built and proved, in its short, fast, tested form."""

from importlib.metadata import PackageNotFoundError, version

from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.errors import DataError, DataWarning, UnknownIdError
from llmrec_lite.evaluate import Report, compare, evaluate, evaluate_ratings

try:
    __version__ = version("llmrec-lite")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

__all__ = [
    "DataError",
    "DataWarning",
    "Dataset",
    "Report",
    "UnknownIdError",
    "__version__",
    "compare",
    "evaluate",
    "evaluate_ratings",
    "load_movielens",
]
