"""Lines of text in mp4 and mov (3GPP timed text, TS 26.245), which show one at a time: those that overlap share one."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_LONGEST = 2**16 - 1  # bytes of text in a sample


@dataclass(frozen=True, slots=True)
class TextLine:
    """A sample of text, shown from `begin` to before `end`, in ticks."""

    begin: int
    end: int
    sample: bytes


class OneAtATime:
    """Makes lines that follow each other of lines that may overlap. They are added in the order of their beginning."""

    def __init__(self) -> None:
        self._shown: list[TextLine] = []
        self._since = 0

    def add(self, line: TextLine) -> Iterator[TextLine]:
        """What is complete once `line` begins."""
        yield from self.until(line.begin)
        if self._shown:
            yield from self._piece(line.begin)
        self._since = line.begin
        self._shown.append(line)

    def until(self, tick: float) -> Iterator[TextLine]:
        """What has ended by `tick`."""
        while self._shown and min(line.end for line in self._shown) <= tick:
            yield from self._piece(min(line.end for line in self._shown))
            self._shown = [line for line in self._shown if line.end > self._since]

    def flush(self) -> Iterator[TextLine]:
        """What is left."""
        yield from self.until(max((line.end for line in self._shown), default=0))

    def _piece(self, end: int) -> Iterator[TextLine]:
        if end > self._since:
            yield TextLine(self._since, end, together([line.sample for line in self._shown]))
        self._since = max(end, self._since)


def together(samples: Sequence[bytes]) -> bytes:
    """One sample that shows several, one below the other; styles stay with their words."""
    if len(samples) == 1:
        return samples[0]
    text, styles = b"", b""
    for words, own in map(_parts, samples):
        before = text + b"\n" if text else b""
        if len(before) + len(words) <= _LONGEST:
            styles += b"".join(_moved(own, len(before.decode(errors="replace"))))
            text = before + words
    made = struct.pack(">H", len(text)) + text
    return made + (struct.pack(">I4sH", 10 + len(styles), b"styl", len(styles) // 12) + styles if styles else b"")


def _parts(sample: bytes) -> tuple[bytes, bytes]:
    """Text, and the records of its styles."""
    (length,) = struct.unpack_from(">H", sample)
    position, styles = 2 + length, b""
    while position + 8 <= len(sample):
        size, kind = struct.unpack_from(">I4s", sample, position)
        if kind == b"styl":
            styles = sample[position + 10 : position + size]
        position += max(size, 8)
    return sample[2 : 2 + length], styles


def _moved(styles: bytes, by: int) -> Iterable[bytes]:
    """Records whose characters stand `by` later."""
    for position in range(0, len(styles) - 11, 12):
        first, last = struct.unpack_from(">HH", styles, position)
        yield (
            struct.pack(">HH", min(first + by, _LONGEST), min(last + by, _LONGEST))
            + styles[position + 4 : position + 12]
        )
