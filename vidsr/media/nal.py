"""The bytes of H.264's and H.265's NAL units (annexes B of both)."""

from collections.abc import Iterator

START = b"\0\0\0\1"
"""Stands before each unit where there are no lengths."""


def start_codes(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each begins, and where the unit behind it does."""
    found = data.find(START[1:])
    while found >= 0:
        yield (found - 1 if found and data[found - 1] == 0 else found), found + 3
        found = data.find(START[1:], found + 3)


def escaped(data: bytes) -> bytes:
    """With bytes of 3 where data would look like a start code."""
    out, zeros = bytearray(), 0
    for byte in data:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def unescaped(data: bytes) -> bytes:
    """Without them."""
    out, position = bytearray(), 0
    while (found := data.find(b"\0\0\3", position)) >= 0:
        out += data[position : found + 2]
        position = found + 3
    return bytes(out + data[position:])
