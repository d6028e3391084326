"""Numbers as people read them."""

from __future__ import annotations

from vidsr.words import counted, num_bytes


def test_bytes_in_the_unit_that_fits() -> None:
    found = [num_bytes(number) for number in (0, 999, 1000, 999_949, 999_999, 12_345_678, 4e9, 2e15)]
    assert found == ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB", "4.0 GB", "2000.0 TB"]
    assert [num_bytes(number, exact=True) for number in (700, 36_040, 999_999)] == ["700 B", "36.04 kB", "1 MB"]


def test_one_is_not_many() -> None:
    assert [counted(number, "frame") for number in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
