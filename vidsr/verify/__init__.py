"""A finished output against its source: `quick` before it gets its name, `compare` in full, whenever one asks."""

from vidsr.verify.comparison import compare
from vidsr.verify.finished import Expected, quick
from vidsr.verify.report import Finding, VerifyReport

__all__ = ["Expected", "Finding", "VerifyReport", "compare", "quick"]
