"""Shows what jobs report as NDJSON on stdout, for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from vidsr.cli.output import plain, plain_fields
from vidsr.cli.show import Show
from vidsr.jobs.events import WORDS, Advanced, Event

if TYPE_CHECKING:
    from vidsr.jobs.run import BatchReport

JSON_SECONDS = 1.0
JSON_VERSION = 1
JSON_NAMES = {"started": "start", "advanced": "progress", "segmentdone": "segment"}


class JsonShow(Show):
    """One JSON object a line on stdout: `version`, `event`, and the event's fields."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__(num_inputs)
        self._out = sys.stdout
        self._shown = 0.0

    def __call__(self, event: Event) -> None:
        """Write the event; of progress at most one line a second."""
        if isinstance(event, Advanced):
            if time.monotonic() - self._shown < JSON_SECONDS:
                return
            self._shown = time.monotonic()
        word = WORDS[type(event)]
        self._write(JSON_NAMES.get(word, word), plain_fields(event))

    def summary(self, report: BatchReport) -> None:
        """Counts, and what failed why, at the end."""
        counts = {word.replace(" ", "_"): count for word, count in report.counts.items()}
        self._write("summary", counts | {"failures": plain(report.failed)})

    def _write(self, event: str, fields: dict[str, object]) -> None:
        print(json.dumps({"version": JSON_VERSION, "event": event, **fields}), file=self._out, flush=True)
