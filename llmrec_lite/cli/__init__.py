"""The command `llmrec`."""
