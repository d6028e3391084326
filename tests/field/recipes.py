"""The files of `cases.toml` by name, and how each is made."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

from tests.field import boxes
from tests.field.making import (
    H264,
    INTERLACED,
    LAYOUTS,
    MKV_PICTURES,
    MKV_SOUND,
    MPEG2,
    Recipe,
    changing,
    combed,
    film,
    flashing_fields,
    hybrid,
    joined,
    middle_dropped,
    mkv_sound,
    one_colour,
    pictures,
    recordings,
    second_pictures,
    sound,
    sparse,
    still,
    synchronous,
    tone,
    two_sounds,
    variable,
    with_marks,
    with_profile,
    without_keyframe,
    wrapping,
)

_CONSTANT = ("rate.mp4", "rate.mov", "rate.mkv", "rate.ts", "rate.avi", "rate.flv")
_LATE = ("late.ts", "late.flv", "late.mpg", "late.m2ts", "late.asf")
RED = "0xDE2E1E"

RECIPES: dict[str, Recipe] = {
    # 1: rates
    **{name: lambda p: film(p, graphs=(pictures(2, "30000/1001"),)) for name in _CONSTANT},
    "rate.webm": lambda p: film(p, graphs=(pictures(2, "30000/1001"),), codec=("-c:v", "libvpx", "-cpu-used", "8")),
    "film.ts": lambda p: film(p, graphs=(pictures(2, "24000/1001"),)),
    "film.mkv": lambda p: film(p, graphs=(pictures(2, "24000/1001"),)),
    "fifty.mkv": lambda p: film(p, graphs=(pictures(2, "50"),)),
    "bframes.mkv": lambda p: film(p, "-bf", "3", graphs=(pictures(2, "24000/1001"),)),
    "variable.mp4": variable,
    "variable.mkv": variable,
    # 2: joints
    "short sound.ts": lambda p: recordings(p, (3, 2.2), (3, 3)),
    "long sound.ts": lambda p: recordings(p, (3, 3.8), (3, 3), (3, 3.8), (3, 3)),
    "five joints.ts": lambda p: recordings(p, *[(2, 1.7)] * 6),
    "short sound.mpg": lambda p: recordings(p, (3, 2.2), (3, 3)),
    "short sound.vob": lambda p: recordings(p, (3, 2.2), (3, 3)),
    "marks.m2ts": lambda p: with_marks(p, (3, 2.2), (3, 3)),
    "joints.flv": lambda p: recordings(p, (3, 2.2), (3, 3.8), (3, 3)),
    "early.ts": lambda p: joined(p, [lambda q: synchronous(q, "-output_ts_offset", 36000, sound=2.5), synchronous]),
    "short sound.mkv": lambda p: recordings(p, (3, 2.2), (3, 3)),
    "long sound.mkv": lambda p: recordings(p, (3, 3.8), (3, 3)),
    "second.mp4": lambda p: recordings(p, (3, 3), (3, 3)),
    "second.flv": lambda p: recordings(p, (3, 3), (3, 3), whole=True),
    "plain joint.ts": lambda p: recordings(p, (3, 3), (3, 3)),
    # 3: clocks
    **{name: lambda p: synchronous(p, "-output_ts_offset", 36000, video=5) for name in _LATE},
    "wrapping.ts": wrapping,
    "synchronous.ts": synchronous,
    "synchronous.mp4": synchronous,
    "sparse.vob": sparse,
    "sparse.mpg": sparse,
    # 4: sounds
    "vorbis.avi": sound("libvorbis"),
    **{f"layout {name}.mkv": sound("pcm_s16le", name) for name in LAYOUTS},
    **{f"layout {name}.mov": sound("pcm_s16le", name) for name in ("5.1(side)", "7.1", "hexadecagonal")},
    "ac3 5.1(side).mkv": sound("ac3", "5.1(side)", 48000, "-b:a", "192k"),
    "flac 7.1.mkv": sound("flac", "7.1"),
    **{f"unnamed stereo.{end}": sound("pcm_s16le", "stereo") for end in ("avi", "mkv")},
    "unnamed mono.avi": sound("pcm_s16le"),
    "unnamed 5.1.avi": sound("pcm_s16le", "5.1"),
    "unnamed 24 bit.mkv": sound("pcm_s24le", "stereo"),
    "layout switch.ts": lambda p: two_sounds(p, ("stereo", 48000), ("5.1", 48000)),
    "layout back.ts": lambda p: two_sounds(p, ("5.1", 48000), ("stereo", 48000)),
    "layout switch.mpg": lambda p: two_sounds(p, ("mono", 48000), ("stereo", 48000), codec="mp2"),
    "rate switch.ts": lambda p: two_sounds(p, ("stereo", 44100), ("stereo", 48000), codec="mp2"),
    **{
        f"stereo mode {mode}.mkv": partial(boxes.stereo, mode=mode)
        for mode in ("side_by_side_left_first", "top_bottom_left_first")
    },
    # 5: fields that only the container tells of, or nobody
    "flagged outside.mkv": lambda p: boxes.container_says(p, interlaced=1, field_order=9),
    "flagged outside, no order.mkv": lambda p: boxes.container_says(p, interlaced=1),
    "flagged outside.mov": lambda p: (combed(p), boxes.into_sample_entry(p, boxes.box(b"fiel", b"\2\1"))),
    "unflagged.mp4": combed,
    "flagged.ts": lambda p: combed(p, *INTERLACED, codec=MPEG2),
    # 15: and sound beside them
    **dict.fromkeys(("flashing fields.ts", "flashing fields.mp4"), flashing_fields),
    # 6: fields that begin or end half-way
    **{f"{order}.{end}": partial(hybrid, order=order) for order in ("pi", "ip") for end in ("mkv", "ts")},
    "pi h264.ts": lambda p: hybrid(p, "pi", H264),
    # 7: crops
    "crop.mkv": lambda p: boxes.through_mkvmerge(
        p, boxes.barred, "--cropping", "0:0,14,0,14", "--display-dimensions", "0:192x108"
    ),
    "crop, square.mkv": lambda p: boxes.through_mkvmerge(
        p, boxes.barred, "--cropping", "0:0,14,0,14", "--display-dimensions", "0:192x80"
    ),
    "aperture.mp4": boxes.aperture,
    "aperture.mov": lambda p: (
        boxes.barred(p),
        boxes.into_sample_entry(p, boxes.box(b"clap", struct.pack(">8I", 192, 1, 80, 1, 0, 1, 0, 1))),
    ),
    # 8: side data
    "spherical.mp4": boxes.spherical,
    "spherical.mkv": lambda p: boxes.from_mp4(p, boxes.spherical, "-strict", "unofficial"),
    "turned.mp4": boxes.turned,
    "turned.mov": boxes.turned,
    "profile.mkv": with_profile,
    "profile.mov": with_profile,
    # 9: what changes half-way
    "aspect.ts": lambda p: changing(p, lambda q: boxes.aspect(q, "16:15"), lambda q: boxes.aspect(q, "64:45")),
    "range.ts": lambda p: changing(
        p, lambda q: one_colour(q, RED, "709"), lambda q: one_colour(q, RED, "709", full=True)
    ),
    "range.mkv": lambda p: changing(
        p, lambda q: one_colour(q, RED, "709"), lambda q: one_colour(q, RED, "709", full=True)
    ),
    "range back.ts": lambda p: changing(
        p, lambda q: one_colour(q, RED, "709", full=True), lambda q: one_colour(q, RED, "709")
    ),
    "matrix.ts": lambda p: changing(p, lambda q: one_colour(q, RED, "709"), lambda q: one_colour(q, RED, "601 in 709")),
    "primaries.ts": lambda p: changing(p, lambda q: one_colour(q, RED, "709"), lambda q: one_colour(q, RED, "601")),
    "wide primaries.ts": lambda p: changing(
        p, lambda q: one_colour(q, RED, "709"), lambda q: one_colour(q, RED, "2020")
    ),
    "size.ts": lambda p: changing(p, film, lambda q: film(q, graphs=(pictures(size="192x128"),))),
    # 10: what Matroska holds
    **{f"{codec}.mkv": mkv_sound(codec) for codec in MKV_SOUND},
    **{f"{codec}.avi": mkv_sound(codec) for codec in MKV_SOUND},
    "wmav2.wmv": lambda p: film(p, "-c:a", "wmav2", graphs=(pictures(1), tone(1)), codec=("-c:v", "wmv2")),
    **{f"second {encoder}.mkv": second_pictures(encoder) for encoder in MKV_PICTURES.split()},
    # 11: late keyframes
    "no keyframe.ts": without_keyframe,
    "no keyframe, mpeg2.ts": lambda p: without_keyframe(p, MPEG2),
    # 12: reports
    "middle dropped.mp4": middle_dropped,
    # 13: verify
    "pattern.mp4": lambda p: film(
        p, "-c:a", "aac", graphs=(pictures(3, size="160x90"), tone(3)), codec=("-c:v", "libx264", "-threads", "1")
    ),
    "bars.mp4": lambda p: still(p, "smptebars=s=160x96:r=25:d=1"),
    "noise.mp4": lambda p: still(p, "color=c=gray:s=160x96:r=25:d=1,noise=alls=60:allf=t+u"),
    "nearly still.mp4": lambda p: still(p, "testsrc=s=160x96:r=25:d=1,select='eq(n,0)',loop=24:1,noise=alls=2:allf=t"),
    "unfinished track.mp4": boxes.unfinished_track,
}


def make(name: str, folder: Path) -> Path:
    """The file `name` in `folder`, made unless it is there."""
    path = folder / name
    if not path.exists():
        RECIPES[name](path)
    return path
