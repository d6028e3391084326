"""Which segments of a job are finished, and what job they belong to. A JSON file that is replaced as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import count
from pathlib import Path

from vidsr import files
from vidsr.errors import OutputError
from vidsr.media.write.times import read_times
from vidsr.media.write.writer import writing

NAME = "manifest.json"
OF_PIPE = "pipe "  # begins the "source" of a job that nothing can go on with
LOCK = "lock"
NOT_OF_PARTS = {"target size"}  # facts that decide what parts become, and not what they are
FORMAT = 2
WORD = 24  # characters of a value that is said
_OURS = re.compile(r"manifest\.json(\.part)?|joined\.\w+|(\d{6,})(\.q\d+)?\.\w+(\.part)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished segment. `interval` counts from the job's first picture, in steps of the segment's length."""

    name: str
    interval: int
    num_frames: int
    num_bytes: int


class Manifest:
    """The finished segments in `folder`, sorted by time, of the job that `facts` describe. Some may be missing."""

    def __init__(self, folder: Path, facts: Mapping[str, str], part_seconds: Fraction, segments: list[Entry]) -> None:
        self._folder, self._facts = folder, dict(facts)
        self.part_seconds = part_seconds
        self.segments = segments

    @classmethod
    def open(cls, folder: Path, facts: Mapping[str, str], part_seconds: Fraction, *, resume: bool = True) -> Manifest:
        """Take up the job in `folder`, or begin it; whatever is not a finished segment of it is removed.

        A job goes on in parts of the length that it was begun with; `part_seconds` is that of a new one.

        Raises:
            OutputError: with `resume`, the folder holds segments of another job; it says what differs.
        """
        found = _read(folder / NAME) if resume else None
        segments: list[Entry] = []
        if found is not None and found[0].get("source", "").startswith(OF_PIPE):
            found = None  # what a killed job read from a pipe does not come again
        if found is not None and (segments := _intact(folder, found[2])):
            _check_same(folder, found[0], facts)
            part_seconds = found[1]
        manifest = cls(folder, facts, part_seconds, segments)
        if segments:
            manifest._write(segments)
        sized = {path.name for path in folder.glob("*.q*") if path.suffix != ".part"}
        keep = {entry.name for entry in segments}
        keep |= {name for name in sized if f"{name.split('.')[0]}.{name.split('.')[-1]}" in keep}
        clear(folder, keep=keep | ({NAME} if segments else set()))
        return manifest

    @property
    def paths(self) -> list[Path]:
        """Of the finished segments, in order."""
        return [self._folder / entry.name for entry in self.segments]

    @property
    def num_frames(self) -> int:
        """In all finished segments."""
        return sum(entry.num_frames for entry in self.segments)

    @property
    def intervals(self) -> frozenset[int]:
        """Those of the finished segments."""
        return frozenset(entry.interval for entry in self.segments)

    @property
    def first_missing(self) -> int:
        """The first interval that is not finished; it may hold no picture."""
        done = self.intervals
        return next(number for number in count() if number not in done)

    def add(self, entry: Entry) -> None:
        """Note a segment whose file is complete and on the disk."""
        segments = sorted([*self.segments, entry], key=lambda known: known.interval)
        self._write(segments)
        self.segments = segments  # not before: what the disk did not take is not there for the next run

    def look_again(self) -> None:
        """Take what the disk has: who was interrupted while noting a segment does not know whether it is there."""
        with suppress(OSError):
            if (found := _read(self._folder / NAME)) is not None:
                self.segments = found[2]

    def _write(self, segments: list[Entry]) -> None:
        path = self._folder / NAME
        names = [field.name for field in fields(Entry)]
        listed = [{name: getattr(entry, name) for name in names} for entry in segments]
        content = {"format": FORMAT, "job": self._facts, "part_seconds": str(self.part_seconds), "segments": listed}
        with writing(path):
            files.write(path, json.dumps(content))  # thousands of parts: indented it takes three times as long


def read_facts(folder: Path) -> dict[str, str] | None:
    """What the manifest in `folder` says of its job; None where there is none."""
    found = _read(folder / NAME)
    return None if found is None else found[0]


def is_ours(folder: Path) -> bool:
    """Whether `folder` is a work folder, or may become one: it is empty, or holds a manifest or a lock."""
    return any((folder / name).exists() for name in (NAME, LOCK)) or not any(folder.iterdir())


def clear(folder: Path, *, keep: Collection[str] = ()) -> None:
    """Remove what jobs write into their work folder, except the names in `keep` and the lock; nothing else."""
    for path in folder.iterdir():
        if path.name not in keep and _OURS.fullmatch(path.name) and path.is_file():
            path.unlink()


def _read(path: Path) -> tuple[dict[str, str], Fraction, list[Entry]] | None:
    """None where there is no manifest, or one that a power cut left unreadable: then nothing is resumed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        length = Fraction(content["part_seconds"])
        return dict(content["job"]), length, [Entry(**entry) for entry in content["segments"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None  # of any other OSError the segments may be sound


def _check_same(folder: Path, found: Mapping[str, str], facts: Mapping[str, str]) -> None:
    different = sorted(key for key in {*found, *facts} - NOT_OF_PARTS if found.get(key) != facts.get(key))
    if different:
        others = ", ".join(_told(key, *(str(one.get(key, None)) for one in (found, facts))) for key in different)
        raise OutputError(
            f"{folder} holds an unfinished job of another {others}; "
            "finish that one, or start over with --no-resume (resume=False)"
        )


def _told(key: str, was: str, now: str) -> str:
    """What differs, with its values where they are words."""
    return f"{key} ({was}, not {now})" if max(len(was), len(now)) <= WORD else key


def _intact(folder: Path, segments: list[Entry]) -> list[Entry]:
    """The segments whose files are what the manifest says; the others are made again."""
    return sorted((entry for entry in segments if _is_intact(folder, entry)), key=lambda entry: entry.interval)


def _is_intact(folder: Path, entry: Entry) -> bool:
    path = folder / entry.name
    try:
        return path.stat().st_size == entry.num_bytes and len(read_times([path])) == entry.num_frames
    except (OSError, OutputError):
        return False
