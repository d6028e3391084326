"""Where a batch of files is: which of how many, and how long all of it still takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from vidsr.cli.output import span
from vidsr.jobs.events import Advanced

SOON_SECONDS = 5.0  # nothing can be said before


class Course:
    """Counts the files of a batch. `sizes` are those of the sources, in bytes, by which their work is guessed."""

    def __init__(self, num_inputs: int, sizes: Mapping[Path, int]) -> None:
        self.num_inputs = num_inputs
        self._sizes = dict(sizes)
        self._numbers: dict[Path, int] = {}
        self._made = 0  # bytes of the sources that are finished
        self._left = sum(sizes.values())
        self._started = time.monotonic()

    def number(self, source: Path) -> str:
        """``2 of 40: `` of the second file that is met; nothing where there is one file."""
        mine = self._numbers.setdefault(source, len(self._numbers) + 1)
        return f"{mine} of {max(self.num_inputs, mine)}: " if self.num_inputs > 1 else ""

    def ended(self, source: Path, *, made: bool) -> None:
        """A file's job ended; one that was not `made` took no time."""
        self.number(source)
        size = self._sizes.pop(source, 0)
        self._left -= size
        self._made += size if made else 0

    @property
    def num_left(self) -> int:
        """Files whose job has not ended."""
        return len(self._sizes)

    def time_left(self, event: Advanced) -> str:
        """``all 3 h 07 min`` (or nothing): of all files, if the others take as long for their size as those before."""
        seconds = time.monotonic() - self._started
        here = self._sizes.get(event.source, 0)
        share = event.progress.num_frames / event.num_frames if event.num_frames else 0.0
        made = self._made + here * min(share, 1.0)
        if self.num_inputs < 2 or seconds < SOON_SECONDS or not made:
            return ""
        return f"all {span(seconds * (self._left + self._made - made) / made)}"
