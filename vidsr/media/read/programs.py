"""Programs of a transport stream, which FFmpeg reads and PyAV does not give out: their streams, and their names.

ISO/IEC 13818-1, 2.4.4 (tables of programs); ETSI EN 300 468, 5.2.3 (services), 6.2.43 (teletext) and annex A (text).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from av.stream import Stream

from vidsr.media.unchanged import while_unchanged

_HEAD = 4 << 20  # bytes in which all tables come at least once: they are repeated several times a second
_SIZES = (188, 192, 204)  # bytes from packet to packet
_MARK = 0x47
_ALIKE = 4  # marks, one packet apart, of which the first begins a packet
_PROGRAMS, _SERVICES = 0, 0x11  # numbers of the streams of these tables
_OF_PROGRAMS, _OF_ONE, _OF_SERVICES = 0x00, 0x02, 0x42  # kinds of tables
_SERVICE, _TELETEXT = 0x48, 0x56  # descriptors: the one that has names, and of a stream of teletext
_UTF8 = 0x15
_NO_NAME = "Service01"  # what FFmpeg calls a program that has no name


@dataclass(frozen=True, slots=True)
class Program:
    """One of them. `streams` are those that it has, by FFmpeg's `id`, `teletext` those of them that are that.

    Names are empty where it has none.
    """

    number: int
    streams: frozenset[int]
    name: str = ""
    provider: str = ""
    teletext: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return self.name or str(self.number)


def programs(path: Path, container: str) -> tuple[Program, ...]:
    """Those of the file `path`, which FFmpeg calls a `container`; none of another kind, or of a damaged one."""
    try:
        return _programs(path) if container == "mpegts" else ()
    except (OSError, IndexError):
        return ()


@while_unchanged
def _programs(path: Path) -> tuple[Program, ...]:
    with path.open("rb") as file:
        data = file.read(_HEAD)
    tables = _tables(data, lambda stream: stream in (_PROGRAMS, _SERVICES))
    places = dict(_places(tables.get((_PROGRAMS, _OF_PROGRAMS), {})))
    of_one = _tables(data, lambda stream: stream in places.values())
    named = dict(_named(tables.get((_SERVICES, _OF_SERVICES), {})))
    found = []
    for number, place in places.items():
        streams = dict(_streams(of_one.get((place, _OF_ONE), {}).get(number, b"")))
        teletext = frozenset(stream for stream, kinds in streams.items() if _TELETEXT in kinds)
        found.append(Program(number, frozenset(streams), *named.get(number, ("", "")), teletext))
    return tuple(found)


def program_of(found: Iterable[Program], stream: int) -> Program | None:
    """The first that has this stream."""
    return next((program for program in found if stream in program.streams), None)


def is_teletext(stream: Stream) -> bool:
    """Whether it is text that comes in the lines above a picture, which FFmpeg here cannot read, but copy."""
    if stream.codec_context is not None or stream.type != "subtitle":
        return False
    found = programs(Path(stream.container.name), stream.container.format.name)
    return any(stream.id in program.teletext for program in found)


def _tables(data: bytes, wanted: Callable[[int], bool]) -> dict[tuple[int, int], dict[int, bytes]]:
    """By stream and kind: what stands in the first section of each extension, which is a program's or a network's."""
    found: dict[tuple[int, int], dict[int, bytes]] = {}
    for stream, section in _sections(data, wanted):
        extension = int.from_bytes(section[3:5], "big")
        found.setdefault((stream, section[0]), {}).setdefault(extension, section[8:-4])
    return found


def _sections(data: bytes, wanted: Callable[[int], bool]) -> Iterator[tuple[int, bytes]]:
    held: dict[int, bytes] = {}
    for packet in _packets(data):
        stream = int.from_bytes(packet[1:3], "big") & 0x1FFF
        if not wanted(stream) or not packet[3] & 0x10:
            continue
        body = packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]
        if not body:
            continue
        if packet[1] & 0x40:  # a section begins, behind the rest of another
            held[stream] = body[1 + body[0] :]
        elif stream in held:
            held[stream] += body
        length = 3 + (int.from_bytes(held.get(stream, b"")[1:3], "big") & 0xFFF)
        if 12 < length <= len(held.get(stream, b"")):
            yield stream, held.pop(stream)[:length]


def _packets(data: bytes) -> Iterator[bytes]:
    """Those of a file that may be cut off anywhere, or lack something."""
    starts = ((at, size) for size in _SIZES for at in range(_ALIKE * size) if _is_packet(data, at, size, _ALIKE))
    at, size = next(starts, (len(data), 1))
    while 0 <= at <= len(data) - 188:
        if _is_packet(data, at, size, 2):
            yield data[at : at + 188]
            at += size
        else:
            at = data.find(_MARK, at + 1)


def _is_packet(data: bytes, at: int, size: int, num: int) -> bool:
    """Whether there is a mark at a place and where the next ones have to be, as far as there is data."""
    return set(data[at : at + num * size : size]) == {_MARK}


def _places(tables: dict[int, bytes]) -> Iterator[tuple[int, int]]:
    """Numbers of programs, and the streams in which their tables are."""
    for table in tables.values():
        for place in range(0, len(table) - 3, 4):
            if number := int.from_bytes(table[place : place + 2], "big"):
                yield number, int.from_bytes(table[place + 2 : place + 4], "big") & 0x1FFF


def _streams(table: bytes) -> Iterator[tuple[int, frozenset[int]]]:
    """Each with the kinds of its descriptors."""
    place = 4 + (int.from_bytes(table[2:4], "big") & 0xFFF)
    while place + 5 <= len(table):
        end = place + 5 + (int.from_bytes(table[place + 3 : place + 5], "big") & 0xFFF)
        kinds = frozenset(kind for kind, _ in _descriptors(table[place + 5 : end]))
        yield int.from_bytes(table[place + 1 : place + 3], "big") & 0x1FFF, kinds
        place = end


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each."""
    place = 0
    while place + 2 <= len(data):
        yield data[place], data[place + 2 : place + 2 + data[place + 1]]
        place += 2 + data[place + 1]


def _named(tables: dict[int, bytes]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Numbers of programs, their names and providers."""
    for table in tables.values():
        place = 3
        while place + 5 <= len(table):
            end = place + 5 + (int.from_bytes(table[place + 3 : place + 5], "big") & 0xFFF)
            number = int.from_bytes(table[place : place + 2], "big")
            for kind, body in _descriptors(table[place + 5 : end]):
                if kind == _SERVICE and len(body) > 1 and len(body) > 2 + body[1]:
                    provider = body[2 : 2 + body[1]]
                    name = body[3 + body[1] : 3 + body[1] + body[2 + body[1]]]
                    yield number, (_text(name), _text(provider)) if _text(name) != _NO_NAME else ("", "")
            place = end


def _text(data: bytes) -> str:
    """A name; of older alphabets what is not Latin may come out wrong."""
    if data[:1] == bytes([_UTF8]):
        return data[1:].decode(errors="replace")
    return data[3 if data[:1] == b"\x10" else 1 if data[:1] < b" " else 0 :].decode("latin-1")
