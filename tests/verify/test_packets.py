"""Times of packets before 0, which Matroska does not store: readers count them back by the packets' lengths."""

from __future__ import annotations

from array import array
from fractions import Fraction
from pathlib import Path

import pytest
from av.stream import Disposition

from vidsr.media.mux.streams import KeptStream
from vidsr.verify.inventory import Inventory, ListedTrack, Pairing
from vidsr.verify.packets import Mapping, check_packets


def track(base: Fraction, pts: list[int], lengths: list[int]) -> ListedTrack:
    made = ListedTrack(1, "audio", "vorbis", {}, Disposition(0), base)
    made.pts, made.dts, made.durations = array("q", pts), array("q", pts), array("q", lengths)
    made.digests = array("Q", range(len(pts)))
    return made


@pytest.mark.parametrize(("first", "second", "differs"), [(-2, 0, False), (-3, 0, False), (-1, 0, True), (-2, 1, True)])
def test_a_millisecond_before_zero_is_no_difference(first: int, second: int, differs: bool) -> None:

    old = track(Fraction(1, 44100), [-128, 0, 576], [128, 576, 1024])
    new = track(Fraction(1, 1000), [first, second, 13], [2, 13, 23])
    assert different(old, new) == (["audio 1: times"] if differs else [])


@pytest.mark.parametrize(("third", "differs"), [(190, False), (270, True)])
def test_a_time_that_is_raised_delays_nothing(third: int, differs: bool) -> None:
    """Of packets that share a millisecond, in a container whose times rise."""
    old = track(Fraction(1, 1000), [0, 2, 2, 3], [0, 0, 0, 0])
    new = track(Fraction(1, 90_000), [0, 180, third, max(third, 270)], [1, 1, 1, 1])
    assert different(old, new) == (["audio 1: times"] if differs else [])


def different(old: ListedTrack, new: ListedTrack) -> list[str]:
    pairing = Pairing(None, ((KeptStream(1, "audio", "vorbis"), old, new),), (), (), (), ())
    source, output = (Inventory(Path(name), "mkv", {}, (), ()) for name in ("a.mkv", "b.mkv"))
    checks = check_packets(pairing, Mapping(Fraction(0)), source, output, damaged=False)
    return [check.name for check in checks if check.verdict == "differs"]
