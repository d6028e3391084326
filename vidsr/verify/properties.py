"""How the picture is to be shown: size, aspect, rotation, colour, HDR10 metadata, length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from vidsr.frame import SRGB, Colour, Matrix, output_colour
from vidsr.media import side_data
from vidsr.media.containers import CONTAINERS, Container, segment_container
from vidsr.media.encoders import ENCODERS, WITHOUT_HDR10
from vidsr.media.hdr import Mastering, light_level
from vidsr.media.mux.streams import no_place
from vidsr.media.read.colour_tags import SITED, stated
from vidsr.media.read.probe import MediaInfo, Video
from vidsr.media.write.encoder import scaled_matrix
from vidsr.verify.phrases import ratio
from vidsr.verify.report import Finding, same

_STEP = Fraction(1, 1000)  # relative, of HDR10's numbers: encoders take them in steps
_ROUNDED = 1e-4  # of a step: by so much less turns differ that are written as degrees


def check_looks(source: MediaInfo, output: MediaInfo, container: str) -> Iterator[Finding]:
    """All properties of the picture stream but its samples."""
    old, new = source.video, output.video
    yield _check_aspect(old, new)
    yield from _check_rotation(old, new, container)
    yield from _check_colour(old, new, container)
    yield from _check_hdr10(old, new)
    yield from _check_side_data(old, new, container)
    if old.format.alpha and not new.format.alpha:
        yield Finding("transparency", "there", "none", "dropped", f"{new.codec} does not keep it ({_with_alpha()} do)")


def _check_side_data(old: Video, new: Video, container: str) -> Iterator[Finding]:
    """Where `side_data` says that it is kept, it must be the same; else it is named."""
    row = CONTAINERS[container]
    reasons = dict(side_data.lost_kinds(old, new.codec, row, _parts_of(new)))
    pairs = {side_data.SPHERICAL: (old.spherical, new.spherical), side_data.STEREO: (old.stereo, new.stereo)}
    for name in old.extras:
        if name in pairs and None not in pairs[name]:
            told = [side_data.essence(name, raw) for raw in pairs[name]]
            yield same(side_data.word(name), str(told[0]), str(told[1]), told[0] == told[1], "it is another")
        elif name in reasons:
            yield Finding(side_data.word(name), "there", "none", "dropped", reasons[name])
        elif name in pairs and None in pairs[name]:
            yield same(side_data.word(name), "there", "none", False, "it is missing")


def _parts_of(new: Video) -> Container:
    """The container of the parts that an output with these pictures is joined of."""
    keeping = [name for row in CONTAINERS.values() for name in row.alpha if ENCODERS[name].codec == new.codec]
    return CONTAINERS[segment_container(new.codec, "".join(keeping[:1]), alpha=new.format.alpha)]


def _with_alpha() -> str:
    """Codecs whose pictures have alpha themselves, in words."""
    rows = (ENCODERS[name] for row in CONTAINERS.values() if not row.animated for name in row.alpha)
    return " and ".join(sorted({row.codec for row in rows if not row.alpha_beside}, reverse=True))


def _check_aspect(old: Video, new: Video) -> Finding:
    """Pixels keep their shape, or the picture keeps the shape that it is shown in."""
    stretch = Fraction(new.width, new.height) / Fraction(old.width, old.height)
    rounding = Fraction(2, new.width) + Fraction(2, new.height) + Fraction(1, 100)
    if new.sample_aspect == old.sample_aspect:
        equal = abs(stretch - 1) <= rounding
    else:
        equal = abs(new.sample_aspect * stretch / old.sample_aspect - 1) <= _tolerance(old, new, rounding)
    words = [f"{v.width}x{v.height}, pixels {ratio(v.sample_aspect)}" for v in (old, new)]
    return same("aspect", words[0], words[1], equal, "the picture is shown in another shape")


def _tolerance(old: Video, new: Video, rounding: Fraction) -> Fraction:
    """Pixels of another shape are right only where the picture's own shape changed as well."""
    unchanged = abs(Fraction(new.width * old.height, new.height * old.width) - 1) <= rounding
    return Fraction(0) if unchanged and new.sample_aspect != 1 else rounding


def _check_rotation(old: Video, new: Video, container: str) -> Iterator[Finding]:
    grown = Fraction(new.width, old.width), Fraction(new.height, old.height)
    want = scaled_matrix(old.display_matrix, *grown)
    if want is None and new.display_matrix is None:
        return
    row, found = CONTAINERS[container], new.display_matrix
    if row.rotation == "matrix":
        yield same("rotation", _turn(want), _turn(found), want == found, "the display matrix is another")
        return
    turns = [side_data.UNTURNED if matrix is None else side_data.turn_of(matrix) for matrix in (want, found)]
    if found is None and turns[0] != side_data.UNTURNED and None in (row.rotation, turns[0]):
        yield Finding("rotation", _turn(want), "none", "dropped", no_place(row, elsewhere=turns[0] is not None))
        return
    apart = [abs(a - b) for a, b in zip(turns[0] or (), turns[1] or (), strict=False)]
    alike = bool(apart) and max(apart) < _ROUNDED
    yield same("rotation", _turn(want), _turn(found), alike, "the display matrix is another")


def _turn(matrix: tuple[int, ...] | None) -> str:
    if matrix is None:
        return "none"
    turn = side_data.turn_of(matrix)
    if turn is None:
        return "stretched"
    a, b, c, d = turn
    return f"{round(math.degrees(math.atan2(b, a))) % 360} degrees" if a * d > b * c else "mirrored"


def expected_colour(old: Video, new: Video, container: str) -> Colour:
    """What the output's samples mean: as the source's, where both are of one model, and the container says it."""
    if CONTAINERS[container].srgb:
        return SRGB
    return stated(output_colour(old.colour, old.format, new.format), new.codec, new.format)


def _check_colour(old: Video, new: Video, container: str) -> Iterator[Finding]:
    want, found = expected_colour(old, new, container), new.colour
    tagged = new.colour_tagged or found.matrix is Matrix.RGB or "grey" in (old.format.model, new.format.model)
    matrices = [want.matrix.name.lower(), found.matrix.name.lower() if tagged else "untagged"]
    yield same("colour matrix", matrices[0], matrices[1], matrices[0] == matrices[1], "colours are shown differently")
    for name, a, b in (("primaries", want.primaries, found.primaries), ("transfer", want.transfer, found.transfer)):
        yield same(f"colour {name}", str(a), str(b), a == b, "colours are shown differently")
    ranges = ["full" if colour.full_range else "limited" for colour in (want, found)]
    yield same("colour range", ranges[0], ranges[1], ranges[0] == ranges[1], "contrast is shown differently")
    if new.codec in SITED and new.format.model == "yuv" and new.format.chroma_shift == (1, 1):
        same_place = want.siting == found.siting or old.format.chroma_shift != (1, 1)
        yield same("chroma location", want.siting, found.siting, same_place, "colour edges are shown displaced")


def _check_hdr10(old: Video, new: Video) -> Iterator[Finding]:
    displays = [Mastering.parse(v.mastering_display) for v in (old, new)]
    levels = [light_level(v.light_level) for v in (old, new)]
    rows = (
        ("mastering display", [_display(d) for d in displays], _close(displays[0], displays[1])),
        (
            "light level",
            [f"{level[0]}, {level[1]} cd/m2" if level else "none" for level in levels],
            levels[0] == levels[1],
        ),
    )
    for name, words, equal in rows:
        if words == ["none", "none"]:
            continue
        if new.codec in WITHOUT_HDR10 and words[1] == "none":
            yield Finding(name, words[0], "none", "dropped", f"{new.codec} does not carry it")
        else:
            yield same(name, words[0], words[1], equal, "HDR is shown differently")


def _display(display: Mastering | None) -> str:
    if display is None:
        return "none"
    return f"{float(display.darkest):g} to {float(display.brightest):g} cd/m2"


def _close(old: Mastering | None, new: Mastering | None) -> bool:
    if old is None or new is None:
        return old is new
    pairs = zip(_numbers(old), _numbers(new), strict=True)
    return all(abs(a - b) <= max(abs(a) * _STEP, Fraction(1, 10000)) for a, b in pairs)


def _numbers(display: Mastering) -> list[Fraction]:
    points = (display.red, display.green, display.blue, display.white)
    return [value for point in points for value in point] + [display.darkest, display.brightest]
