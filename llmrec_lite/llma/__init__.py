"""Part IV: LLMA, the system of the five articles: fusion, cold start, reasons, storage."""

from llmrec_lite.llma.config import LLMAConfig
from llmrec_lite.llma.model import LLMA

__all__ = ["LLMA", "LLMAConfig"]
