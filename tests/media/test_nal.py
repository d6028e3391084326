"""NAL units: where they begin, and the bytes that keep data from looking like a beginning."""

from __future__ import annotations

import pytest

from vidsr.media.nal import escaped, start_codes, unescaped


def test_beginnings() -> None:
    """Of three bytes or four; also where data begins with three, and where it ends within one."""
    assert list(start_codes(b"\0\0\1A")) == [(0, 3)]
    assert list(start_codes(b"\0\0\0\1A\0\0\1B\0\0\0\1C\0\0")) == [(0, 4), (5, 8), (9, 13)]


@pytest.mark.parametrize(("data", "written"), [(b"\0\0\1", b"\0\0\3\1"), (b"\0\0\0\0\0", b"\0\0\3\0\0\3\0"),
                         (b"\0\0\3", b"\0\0\3\3"), (b"\0\0\4", b"\0\0\4"), (b"\0\1\0", b"\0\1\0")])  # fmt: skip
def test_nothing_looks_like_a_beginning(data: bytes, written: bytes) -> None:
    assert escaped(data) == written
    assert unescaped(written) == data
