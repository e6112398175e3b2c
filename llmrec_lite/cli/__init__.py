"""The command `llmrec`."""

from llmrec_lite.cli.lazy import import_later

import_later("scipy.stats")  # a second, which scikit-learn imports for a function that no estimator here calls
