"""Segments that travel decode, elsewhere, to exactly what `Reader` yields here."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clips import damage, make_clip
from vidsr.frame import Frame
from vidsr.media.read import packets
from vidsr.media.read.packets import BEFORE, BEHIND, Irregular, Shipment, Unsound, can_cut, cut, unpack
from vidsr.media.read.pictures import pack_pictures
from vidsr.media.read.probe import MediaInfo, probe
from vidsr.media.read.reader import Reader

LENGTH = Fraction(1, 2)


def same(found: Iterator[Frame], wanted: Iterator[Frame]) -> int:
    count = 0
    for a, b in zip(found, wanted, strict=True):
        assert (a.pts, a.duration, a.time_base, a.format, a.colour) == (
            b.pts,
            b.duration,
            b.time_base,
            b.format,
            b.colour,
        )
        assert all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True)), a.pts
        count += 1
    return count


def interval_of(info: MediaInfo) -> Any:
    first = info.video.start_pts or 0
    return lambda pts: max(int((pts - first) * info.video.time_base // LENGTH), 0)


def arrived(shipments: Iterator[Shipment], info: MediaInfo) -> Iterator[Frame]:
    for item in shipments:
        there: Shipment = pickle.loads(pickle.dumps(item))
        yield from unpack(there, info.video)


KINDS: dict[str, dict[str, Any]] = {
    "b-frames": {"bframes": 2},
    "open-gop": {"bframes": 2, "gop": 12, "options": {"x264-params": "open-gop=1"}},
    "one-keyframe": {"bframes": 2, "gop": 250},
    "hevc-10-bit": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=error"}},
    "vp9": {"codec": "libvpx-vp9", "suffix": ".mkv"},
    "av1": {"codec": "libsvtav1", "options": {"svtav1-params": "lp=1"}},
    "ts": {"suffix": ".ts", "bframes": 2},
    "vfr-with-gaps": {
        "suffix": ".mkv",
        "pts": [0, 1, 2, 9, 10, 14, 30, 31, 32, 33, 90, 91],
        "time_base": Fraction(1, 24),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_packets_decode_elsewhere_to_the_same_pictures(tmp_path: Path, kind: str) -> None:
    options = dict(KINDS[kind])
    source = make_clip(tmp_path / f"a{options.pop('suffix', '.mp4')}", **{"frames": 80, **options})
    info = probe(source)
    assert can_cut(info)
    shipments = list(cut(info, interval_of(info), ()))
    assert len(shipments) > 3
    assert [item.interval for item in shipments] == sorted({item.interval for item in shipments})
    assert same(arrived(iter(shipments), info), iter(Reader(info))) == len(options.get("pts", range(80)))


def test_each_segment_takes_few_packets_along_and_needs_no_other(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", frames=240, gop=12, bframes=2))
    shipments = list(cut(info, interval_of(info), done={0, 3}))
    assert [item.interval for item in shipments] == [k for k in range(20) if k not in (0, 3)]
    assert max(len(item.packets) for item in shipments) <= 12 + 2 * 12 + 2 * packets.REORDER
    for item in reversed(shipments):
        begin = item.interval * LENGTH
        wanted = iter(Reader(info, start=begin or None, end=begin + LENGTH))
        assert same(unpack(item, info.video), wanted) == 12


def test_a_part_is_cut_out_at_both_ends(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", frames=240, gop=12, bframes=2))
    base = info.video.time_base

    def number(pts: int) -> int:
        time = pts * base
        return BEFORE if time < 3 else BEHIND if time >= 5 else int((time - 3) // LENGTH)

    shipments = list(cut(info, number, ()))
    assert [item.interval for item in shipments] == [0, 1, 2, 3]
    assert len(shipments[0].packets) < 24 + 12 + 2 * packets.REORDER  # nothing from the beginning of the film
    wanted = iter(Reader(info, start=Fraction(3), end=Fraction(5)))
    assert same(arrived(iter(shipments), info), wanted) == 48


def test_a_film_with_one_keyframe_does_not_travel_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "MAX_PREROLL", 30)
    info = probe(make_clip(tmp_path / "a.mp4", frames=80, gop=250))
    with pytest.raises(Irregular) as caught:
        list(cut(info, interval_of(info), ()))
    assert caught.value.interval == 3


def test_with_intra_refresh_no_packets_travel(tmp_path: Path) -> None:
    """Decoding that begins at a recovery point gives nearly the right pictures, and nearly is not enough."""
    info = probe(make_clip(tmp_path / "a.mp4", frames=80, options={"x264-params": "intra-refresh=1:keyint=12"}))
    with pytest.raises(Irregular):
        list(cut(info, interval_of(info), ()))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "gbrp"])
def test_pictures_travel_without_loss(tmp_path: Path, pix_fmt: str) -> None:
    codec = "libx264rgb" if pix_fmt == "gbrp" else "ffv1"
    info = probe(
        make_clip(tmp_path / "a.mkv", frames=30, codec=codec, pix_fmt="rgb24" if pix_fmt == "gbrp" else pix_fmt)
    )
    number = interval_of(info)
    packed = pack_pictures(Reader(info), info.video, lambda frame: number(frame.pts), ())
    assert same(arrived(packed, info), iter(Reader(info))) == 30


def test_what_is_damaged_is_left_to_the_reader(tmp_path: Path) -> None:
    """A packet that does not decode is no end here: whoever gets the packets says that they are not what they seem."""
    source = make_clip(tmp_path / "a.mkv", frames=48, width=128, height=96)
    info = probe(damage(source, tmp_path / "b.mkv"))
    with pytest.raises((Unsound, Irregular)):
        list(arrived(cut(info, interval_of(info), ()), info))
