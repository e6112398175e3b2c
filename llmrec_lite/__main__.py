"""The command `llmrec` as `python -m llmrec_lite`."""

from llmrec_lite.cli.main import main

main()
