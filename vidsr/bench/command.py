"""The command that runs a job by one line of a benchmark."""

from __future__ import annotations

import shlex
from pathlib import Path

from vidsr.bench.network import BenchLine
from vidsr.jobs.options import Options


def command(film: Path | str, line: BenchLine, options: Options) -> str:
    """The command that runs a job by this line, ready to paste."""
    words = ["vidsr", "upscale", str(film), "--backend", line.backend, "--precision", line.precision]
    for name in ("model", "scale", "size", "codec", "preset", "crf", "device", "threads"):
        value, default = getattr(options, name), getattr(Options(), name)
        if value != default:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
