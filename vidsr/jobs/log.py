"""A log file for each job: every event with its time, and what the machine and the program were."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import av

from vidsr import __version__
from vidsr.build import version
from vidsr.errors import OutputError
from vidsr.files import fitting
from vidsr.jobs.events import WORDS, Advanced, Done, Event, Failed, Skipped

PROGRESS_SECONDS = 10.0  # between two lines of progress


class Logs:
    """Writes each event into the log of its job, then hands it on.

    The log of ``clip.mp4`` is ``clip.mp4.log`` in `folder`; where a batch holds more sources of one name, the next is
    ``clip.mp4.2.log``. A job that is run again goes on in the same log. Lines are ``time event field=value ...``.

    Raises:
        OutputError: the folder or a log cannot be written.
    """

    def __init__(self, folder: Path, on_event: Callable[[Event], None]) -> None:
        self._folder, self._on_event = folder, on_event
        self._names: dict[Path, Path] = {}
        self._progress: dict[Path, float] = {}  # when it was last written, in seconds of the run
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot hold logs ({error.strerror or error})") from error

    def __call__(self, event: Event) -> None:
        """Log `event`, and hand it on."""
        if self._is_due(event):
            self._write(event)
        self._on_event(event)

    def _is_due(self, event: Event) -> bool:
        if not isinstance(event, Advanced):
            return True
        seconds = event.progress.seconds
        if 0 <= seconds - self._progress.get(event.source, -PROGRESS_SECONDS) < PROGRESS_SECONDS:
            return False
        self._progress[event.source] = seconds
        return True

    def _write(self, event: Event) -> None:
        lines = [] if event.source in self._names else [_line("run", _circumstances())]
        lines.append(_line(WORDS[type(event)], _fields(event)))
        path = self._path(event.source)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise OutputError(f"{path}: the log cannot be written ({error.strerror or error})") from error
        if isinstance(event, Done | Skipped | Failed):
            self._progress.pop(event.source, None)

    def _path(self, source: Path) -> Path:
        if source not in self._names:
            taken = sum(other.name == source.name for other in self._names)
            number = f".{taken + 1}" if taken else ""
            self._names[source] = self._folder / fitting(source.name, f"{number}.log")
        return self._names[source]


def _line(name: str, fields: dict[str, object]) -> str:
    time = datetime.now().astimezone().isoformat(timespec="milliseconds")
    return " ".join([time, name, *(f"{key}={_plain(value)}" for key, value in fields.items())])


def _circumstances() -> dict[str, object]:
    return {
        "vidsr": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "openvino": version("openvino"),
        "av": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "system": platform.platform(),
        "command": shlex.join(sys.argv),
        "folder": _folder(),
    }


def _folder() -> str:
    """That names without a folder are meant from."""
    try:
        return str(Path.cwd())
    except OSError:
        return "removed"


def _fields(event: Event) -> dict[str, object]:
    return {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}


def _plain(value: object) -> str:
    """On one line, and in quotes where it holds a space."""
    text = str(value) if isinstance(value, Path | str) else repr(value)
    return repr(text) if any(c.isspace() or not c.isprintable() for c in text) else text
