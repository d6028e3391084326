"""Edit lists of mp4 and mov that do more than to hide a beginning."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import pytest

from tests.clips import Audio, make_clip, seconds
from tests.media.making import numbers, upscaled
from vidsr.verify.comparison import compare

CLOCK = 90_000  # ticks a second of the film, as `make_clip` writes it
PRIMING = 1024  # samples that an encoder of AAC puts before the sound


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        size, kind = struct.unpack_from(">I4s", data)
        yield kind, data[8:size]
        data = data[size:]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _edit(path: Path, *edits: Sequence[tuple[float, int]]) -> None:
    """Give each track other edits: for how many seconds, and from which tick of its own clock; -1: nothing."""
    data = path.read_bytes()
    place = data.rindex(b"moov") - 4
    tables, made = iter(edits), b""
    for kind, body in _boxes(data[place + 8 :]):
        if kind == b"trak":
            table = next(tables)
            rows = b"".join(struct.pack(">IiHH", round(length * CLOCK), begin, 1, 0) for length, begin in table)
            edts = _box(b"edts", _box(b"elst", struct.pack(">II", 0, len(table)) + rows))
            inner = [_box(k, b) + (edts if k == b"tkhd" else b"") for k, b in _boxes(body) if k != b"edts"]
            body = b"".join(inner)
        made += _box(kind, body)
    path.write_bytes(data[:place] + _box(b"moov", made))


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts"])
def test_what_an_edit_list_cuts_out_in_the_middle_is_not_heard(tmp_path: Path, container: str) -> None:
    """And what follows stays beside its pictures, although the file has no keyframe there."""
    source = make_clip(tmp_path / "a.mp4", frames=60, gop=60, audio=(Audio(seconds=2.5),))
    _edit(source, [(0.5, 0), (1, 36)], [(0.5, PRIMING), (1, PRIMING + 72000)])
    output = tmp_path / f"out.{container}"
    upscaled(source, output, container=container)
    assert len(numbers(output)) == 36
    with av.open(str(output)) as opened:
        heard = [(seconds(frame), frame.samples) for frame in opened.decode(audio=0)]
    assert heard[-1][0] - heard[0][0] == pytest.approx(1.5, abs=0.1)
    assert sum(samples for _, samples in heard) / 48000 == pytest.approx(1.5, abs=0.12)
    checks = compare(source, output).checks
    rows = {check.name: check.verdict for check in checks}
    assert [rows[name] for name in ("audio 1: packets", "audio 1: times", "frame times")] == ["ok", "ok", "ok"]
    assert "sync" not in rows
