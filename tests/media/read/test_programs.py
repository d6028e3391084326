"""Programs of transport streams: read from their tables, kept by name in ts, and named as lost elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clips import Audio, make_clip
from tests.media.making import upscaled
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.decide import lost_programs, plan_streams
from vidsr.media.read.probe import probe
from vidsr.media.read.programs import Program, program_of, programs


def _number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _packets(stream: int, kind: int, extension: int, body: bytes) -> bytes:
    """A section, in packets of which each but the first goes on with it."""
    section = bytes([kind]) + _number(0xB000 | len(body) + 9) + _number(extension) + b"\xc1\0\0" + body + bytes(4)
    data, made = b"\0" + section, b""
    while data:
        begins = 0 if made else 0x4000
        made += b"G" + _number(begins | stream) + b"\x10" + data[:184].ljust(184, b"\xff")
        data = data[184:]
    return made


def _service(number: int, provider: bytes, name: bytes) -> bytes:
    body = b"\1" + bytes([len(provider)]) + provider + bytes([len(name)]) + name
    return _number(number) + b"\xfc" + _number(0x8000 | len(body) + 2) + b"\x48" + bytes([len(body)]) + body


def _table(streams: Sequence[int]) -> bytes:
    return (
        _number(0xE100) + _number(0xF000) + b"".join(b"\x1b" + _number(0xE000 | s) + _number(0xF000) for s in streams)
    )


def _recording(path: Path, size: int = 188) -> Path:
    """Of two programs, whose names need two packets."""
    network = _number(0) + _number(0xE010)
    data = _packets(0, 0, 1, network + _number(7) + _number(0xE100) + _number(9) + _number(0xE200))
    data += _packets(0x100, 2, 7, _table([0x101, 0x102])) + _packets(0x200, 2, 9, _table([0x201]))
    names = _service(7, b"ARD", b"\x15" + "Österreich".encode()) + _service(9, b"p" * 200, b"\x05News")
    data += _packets(0x11, 0x42, 1, _number(1) + b"\xff" + names)
    around = {188: (b"", b""), 192: (bytes(4), b""), 204: (b"", bytes(16))}[size]
    path.write_bytes(b"".join(around[0] + data[n : n + 188] + around[1] for n in range(0, len(data), 188)))
    return path


@pytest.mark.parametrize("size", [188, 192, 204])
def test_two_programs_are_found_with_streams_and_names(tmp_path: Path, size: int) -> None:
    found = programs(_recording(tmp_path / "a.ts", size), "mpegts")
    assert found == (
        Program(7, frozenset({0x101, 0x102}), "Österreich", "ARD"),
        Program(9, frozenset({0x201}), "News", "p" * 200),
    )
    assert program_of(found, 0x201) == found[1]
    assert program_of(found, 5) is None
    assert [str(item) for item in lost_programs(found, 0x201, CONTAINERS["ts"])] == [
        "programs (Österreich, News): dropped, all streams become one program, News"
    ]
    assert [str(item) for item in lost_programs(found, 0x201, CONTAINERS["mkv"])] == [
        "programs (Österreich, News): dropped, mkv has no place for it"
    ]


def test_tables_that_break_off_are_no_programs(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a.ts")
    whole = path.read_bytes()
    for end in (0, 100, 188, 400, 600, len(whole) - 188):
        path.write_bytes(whole[:end])
        assert all(not program.name for program in programs(path, "mpegts"))
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        assert len(programs(path, "mpegts")) <= 46  # as many as a packet holds


def test_a_name_that_breaks_off_costs_no_program(tmp_path: Path) -> None:
    path = _recording(tmp_path / "a.ts")
    path.write_bytes(path.read_bytes().replace(b"\3ARD", b"\xf0ARD"))  # its length
    assert [(program.number, program.name) for program in programs(path, "mpegts")] == [(7, ""), (9, "News")]


@pytest.mark.parametrize("size", [188, 192, 204])
@pytest.mark.parametrize("cut", [1, 100, 187])
def test_programs_of_a_file_that_was_cut_anywhere(tmp_path: Path, size: int, cut: int) -> None:
    path = _recording(tmp_path / "a.ts", size)
    once, names = path.read_bytes(), programs(path, "mpegts")
    path.write_bytes(once[cut:] + once)  # its tables come again
    assert programs(path, "mpegts") == names
    nothing = b"G\x40\0\x30\xb7".ljust(188, b"\xff")  # a packet of the first table with no room left for one
    path.write_bytes(nothing.rjust(size, b"\0") + once if size < 204 else nothing.ljust(size, b"\0") + once)
    assert programs(path, "mpegts") == names
    lacks = size + cut
    path.write_bytes(once[:lacks] + once[lacks + cut :] + once)
    assert programs(path, "mpegts") == names


@pytest.mark.parametrize("name", ["Das Erste Österreich", ""])
def test_the_name_of_a_program_is_kept_in_ts_and_named_elsewhere(tmp_path: Path, name: str) -> None:
    source = make_clip(tmp_path / "a.ts", audio=[Audio("mp2")], metadata={"service_name": name} if name else {})
    assert [program.name for program in programs(source, "mpegts")] == [name]
    upscaled(source, tmp_path / "out.ts")
    assert [program.name for program in programs(tmp_path / "out.ts", "mpegts")] == [name]
    lost = [f"name of the program ({name}): dropped, mkv has no place for it"] if name else []
    assert [str(item) for item in plan_streams(probe(source), "mkv")[1]] == lost
    assert plan_streams(probe(source), "ts")[1] == []
