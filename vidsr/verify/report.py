"""What a comparison found: one row for each property that was compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "dropped", "differs"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One property. `source` and `output` say what each file has; `detail` why it differs, or why it was dropped."""

    name: str
    source: str
    output: str
    verdict: Verdict = "ok"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of one comparison, in the order in which they are shown."""

    source: Path
    output: Path
    checks: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the output is what its source promised; what is dropped for a stated reason does not count."""
        return not self.differences

    @property
    def differences(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.verdict == "differs")


def same(name: str, source: str, output: str, equal: bool, detail: str = "") -> Finding:
    """A check that is ok if `equal`; `detail` is for the other case."""
    return Finding(name, source, output) if equal else Finding(name, source, output, "differs", detail)
