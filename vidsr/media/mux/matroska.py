"""What FFmpeg leaves out of Matroska and WebM, or writes although it is not so: put right in the finished file.

PyAV cannot ask for the aspect of samples; and where pictures come at no rate, FFmpeg writes that of the clock.
RFC 9559 (Matroska) over RFC 8794 (EBML). The track of pictures is written with a long name that holds the place; the
entry is then rewritten at the same length with the display size and the real name.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from vidsr.media import ebml
from vidsr.media.ebml import Element, children

PLACEHOLDER = "\u00a0" + "vidsr".ljust(63)
"""What the track is named until `write_aspect` is called: room for the elements that come in."""

_BOTH = " " * 4  # as many bytes as the head of the element that comes in
_LETTERS = 8  # of a language beside the one by RFC 5646; more is none, and sizes of two bytes have no room for it
_NAME, _DEFAULT_DURATION, _STEREO = 0x536E, 0x23E383, 0x53B8
_BESIDE = (1, 8, 9, 11)  # stereo modes that have both pictures in a row, so that each is half as wide
_BELOW = (2, 3, 6, 7)  # and half as high
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_HEAD = 1 << 20  # bytes: tracks stand within the first


def write_aspect(path: Path, width: int, height: int, aspect: Fraction, title: str | None) -> None:
    """Give the track named `PLACEHOLDER` its display size and its `title`. ValueError where there is none."""
    with _beginning(path) as data:
        set_aspect(data, width, height, aspect, title)


def write_chapters(path: Path, body: bytes) -> None:
    """Put a section of chapters with this `body` behind everything else, in place of one that is there.

    Raises:
        ValueError: the head has no room for where it stands.
    """
    with path.open("rb+") as file:
        data = bytearray(file.read(_HEAD))
        segment = _find(data, 0, len(data), ebml.SEGMENT)
        before = itertools.takewhile(lambda element: element[0] != ebml.CLUSTER, _children(data, *segment[2:]))
        old = [(start, stop) for kind, start, _, stop in before if kind == ebml.CHAPTERS]
        section, end = _element(ebml.CHAPTERS, body), file.seek(0, 2)
        _point_to(data, segment, ebml.CHAPTERS, end - segment[2])
        for start, stop in old:
            data[start:stop] = _void(stop - start)
        data[segment[2] - 8 : segment[2]] = (end - segment[2] + len(section) | 1 << 56).to_bytes(8, "big")
        file.write(section)
        file.seek(0)
        file.write(data)


def _point_to(data: bytearray, segment: Element, kind: int, position: int) -> None:
    """Let the segment's head say that the section of this `kind` is at `position`; a Void behind it gives the room."""
    (name, start, body, stop), void = itertools.islice(_children(data, segment[2], segment[3]), 2)
    if name != ebml.SEEK_HEAD or void[0] != ebml.VOID or segment[2] - segment[1] != 12:
        raise ValueError("no head with room behind it")
    entries = [entry for entry in _children(data, body, stop) if entry[0] == ebml.SEEK]
    others = [bytes(data[entry[1] : entry[3]]) for entry in entries if _value(data, entry, ebml.SEEK_KIND) != kind]
    own = _element(ebml.SEEK_KIND, _number(kind)) + _element(ebml.SEEK_POSITION, _number(position))
    new = b"".join([*others, _element(ebml.SEEK, own)])
    new = _element(ebml.SEEK_HEAD, _element(ebml.CRC, struct.pack("<I", zlib.crc32(new))) + new)
    left = void[3] - start - len(new)
    if left < 2:
        raise ValueError("no room for where chapters stand")
    data[start : void[3]] = new + _void(left)


def changed(head: bytes, changes: Sequence[Callable[[bytearray], None]]) -> bytes | None:
    """The beginning of a file after `set_aspect` and the like; None: its tracks do not end in it."""
    data = bytearray(head)
    try:
        if _tracks(data)[3] > len(data):
            return None
    except ValueError:
        return None
    for change in changes:
        change(data)
    return bytes(data)


def set_aspect(data: bytearray, width: int, height: int, aspect: Fraction, title: str | None) -> None:
    """What `write_aspect` does, in a file's beginning."""
    with _entries(data) as entries:
        entry = next(e for e in entries if _is_ours(data, e))
        video = _find(data, entry[2], entry[3], ebml.VIDEO)
        mode = _value(data, video, _STEREO)
        shown = width // 2 if mode in _BESIDE else width, height // 2 if mode in _BELOW else height
        data[entry[2] : entry[3]] = _rewritten(data, entry, _display(*shown, aspect), title)


def both_languages(language: str | None, exact: str) -> str:
    """What a track's language is to be until `write_languages` is called: three letters, and the same by RFC 5646."""
    return f"{language if language and len(language) <= _LETTERS else 'und'}{_BOTH}{exact}"


def have_both(languages: Iterable[str | None]) -> bool:
    """Whether some of them are those of `both_languages`."""
    return any(_BOTH in (language or "") for language in languages)


def write_languages(path: Path) -> None:
    """Give tracks the two elements of which `both_languages` holds the places."""
    with _beginning(path) as data:
        set_languages(data)


def set_languages(data: bytearray) -> None:
    """What `write_languages` does, in a file's beginning."""
    with _entries(data) as entries:
        for _, _, start, end in entries:
            for kind, begin, body, after in list(_children(data, start, end)):
                words = bytes(data[body:after]).split(_BOTH.encode())
                if kind == ebml.LANGUAGE and len(words) == 2:
                    data[begin:after] = _short_element(ebml.LANGUAGE, words[0]) + _short_element(
                        ebml.LANGUAGE_IETF, words[1]
                    )


def drop_rate(path: Path, number: int) -> None:
    """Take the picture rate away from picture track `number` (from 0). ValueError where there is no such track."""
    with _beginning(path) as data:
        clear_rate(data, number)


def clear_rate(data: bytearray, number: int) -> None:
    """What `drop_rate` does, in a file's beginning."""
    with _entries(data) as entries:
        pictures = [entry for entry in entries if _value(data, entry, ebml.TRACK_TYPE) == ebml.PICTURES]
        if number >= len(pictures):
            raise ValueError(f"no picture track {number}")
        _, start, end = pictures[number][1:]
        for kind, begin, _, after in list(_children(data, start, end)):
            if kind == _DEFAULT_DURATION:
                data[begin:after] = _void(after - begin)


@contextmanager
def _beginning(path: Path) -> Iterator[bytearray]:
    """That of the file, to be changed at the same length."""
    with path.open("rb+") as file:
        data = bytearray(file.read(_HEAD))
        yield data
        file.seek(0)
        file.write(data)


@contextmanager
def _entries(data: bytearray) -> Iterator[list[Element]]:
    """The tracks in it, to be changed at the same length."""
    tracks = _tracks(data)
    yield [element for element in _children(data, tracks[2], tracks[3]) if element[0] == ebml.TRACK_ENTRY]
    crc = next((e for e in _children(data, tracks[2], tracks[3]) if e[0] == ebml.CRC), None)
    if crc:
        data[crc[2] : crc[3]] = struct.pack("<I", zlib.crc32(bytes(data[crc[3] : tracks[3]])))


def _tracks(data: bytearray) -> Element:
    segment = _find(data, 0, len(data), ebml.SEGMENT)
    return _find(data, segment[2], segment[3], ebml.TRACKS)


def _value(data: bytearray, parent: Element, kind: int) -> int | None:
    """An unsigned number in `parent`."""
    found = (data[b:e] for k, _, b, e in _children(data, parent[2], parent[3]) if k == kind)
    return next((int.from_bytes(number, "big") for number in found), None)


def _display(width: int, height: int, aspect: Fraction) -> bytes:
    """The size at which square pixels show the picture: grown, never shrunk, and exact where 32 bits allow it."""
    shown = Fraction(width, height) * aspect
    factor = max(-(-width // shown.numerator), -(-height // shown.denominator))
    return _element(_DISPLAY_WIDTH, _number(shown.numerator * factor)) + _element(
        _DISPLAY_HEIGHT, _number(shown.denominator * factor)
    )


def _rewritten(data: bytearray, entry: Element, display: bytes, title: str | None) -> bytes:
    """The body of `entry` with the display size in its video element; a Void fills what the name leaves."""
    out = b""
    for kind, start, body, end in _children(data, entry[2], entry[3]):
        if kind == _NAME:
            continue
        if kind == ebml.VIDEO:
            shown = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
            rest = b"".join(bytes(data[s:e]) for k, s, _, e in _children(data, body, end) if k not in shown)
            out += _element(ebml.VIDEO, rest + display)
        else:
            out += bytes(data[start:end])
    room = entry[3] - entry[2]
    name = _element(_NAME, title.encode()) if title else b""
    if len(out) + len(name) + 9 > room:  # a name longer than the place kept for it
        name = _element(_NAME, (title or "").encode()[: max(room - len(out) - 20, 0)].decode(errors="ignore").encode())
    left = room - len(out) - len(name)
    if left < 9:
        raise ValueError("no room for the display size")
    return out + name + _void(left)


def _void(num: int) -> bytes:
    """An element of so many bytes, at least 2, that says nothing."""
    size = bytes([0x80 | num - 2]) if num < 9 else b"\x01" + (num - 9).to_bytes(7, "big")
    return (bytes([ebml.VOID]) + size).ljust(num, b"\0")


def _is_ours(data: bytearray, entry: Element) -> bool:
    names = (data[b:e].decode(errors="replace") for k, _, b, e in _children(data, entry[2], entry[3]) if k == _NAME)
    return any(name == PLACEHOLDER for name in names)


def _find(data: bytearray, position: int, end: int, kind: int) -> Element:
    for element in _children(data, position, end):
        if element[0] == kind:
            return element
    raise ValueError(f"no element {kind:x}")


def _children(data: bytearray, position: int, end: int) -> Iterator[Element]:
    return children(io.BytesIO(data), position, min(end, len(data)))


def _element(kind: int, body: bytes) -> bytes:
    head = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    return head + (0x10000000 | len(body)).to_bytes(4, "big") + body


def _short_element(kind: int, body: bytes) -> bytes:
    """One with a size of one byte."""
    return kind.to_bytes(3, "big") + bytes([0x80 | len(body)]) + body


def _number(value: int) -> bytes:
    return value.to_bytes(max((value.bit_length() + 7) // 8, 1), "big")
