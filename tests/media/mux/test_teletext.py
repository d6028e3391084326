"""Teletext of a transport stream, for which FFmpeg here has no decoder: copied into another one, with its pages."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.stream import Stream

from tests.clips import make_clip
from tests.media.making import times, upscaled
from vidsr.media.mux.decide import plan_streams
from vidsr.media.read.probe import probe
from vidsr.verify.comparison import compare

_PAGES = b"\x56\x0ager\x09\x00eng\x10\x88"  # of two languages: the first page, and subtitles on page 888 - 800
_LINE = b"\x02\x2c\xe7\xe4" + bytes(range(42))


def _recording(path: Path) -> Path:
    """A film with teletext five times a second, its table changed to name two pages."""
    clip = make_clip(path.with_name("film.ts"), rate=Fraction(25), frames=25)
    with av.open(str(clip)) as film, av.open(str(path), "w", format="mpegts") as out:
        (source,) = film.streams.video
        picture, text = out.add_stream_from_template(source), out.add_mux_stream("dvb_teletext")
        text.time_base = Fraction(1, 90000)
        text.metadata["language"] = "ger,eng"
        for number, packet in enumerate(p for p in film.demux(source) if p.size):
            at = packet.dts
            packet.stream = picture
            out.mux(packet)
            if number % 5 == 0:
                line: Packet[Stream] = Packet(b"\x10" + _LINE * 2 + bytes([number]) + _LINE[1:])
                line.stream, line.time_base, line.pts, line.dts = text, text.time_base, at, at
                out.mux(line)
    data = path.read_bytes()
    place = data.index(b"\x56\x0ager")
    begin = data.rindex(b"\0\2\xb0", 0, place) + 1
    length = 3 + (int.from_bytes(data[begin + 1 : begin + 3], "big") & 0xFFF)
    table = data[begin : begin + length]
    changed = table[:-4].replace(table[place - begin : place - begin + len(_PAGES)], _PAGES)
    path.write_bytes(data.replace(table, changed + _crc(changed)))
    return path


def _crc(data: bytes) -> bytes:
    """Of a table (ISO/IEC 13818-1, annex A)."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte << 24
        for _ in range(8):
            rest = rest << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if rest >> 31 else 0)
    return rest.to_bytes(4, "big")


def test_it_is_kept_in_ts_with_languages_and_pages(tmp_path: Path) -> None:
    source, output = _recording(tmp_path / "a.ts"), tmp_path / "out.ts"
    assert [stream.codec for stream in probe(source).streams] == ["h264", "dvb_teletext"]
    _, report = upscaled(source, output)
    assert not report.dropped
    assert _PAGES in output.read_bytes()
    assert times(output, 1) == times(source, 1)
    rows = {check.name: check.verdict for check in compare(source, output).checks}
    assert [rows[name] for name in ("subtitle 1: packets", "subtitle 1: times")] == ["ok", "ok"]


@pytest.mark.parametrize("container", ["mkv", "mp4", "mov"])
def test_other_containers_name_it(tmp_path: Path, container: str) -> None:
    (lost,) = plan_streams(probe(_recording(tmp_path / "a.ts")), container)[1]
    assert str(lost) == f"subtitle 1 (dvb_teletext): dropped, {container} cannot hold dvb_teletext subtitle"
