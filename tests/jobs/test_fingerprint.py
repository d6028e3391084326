"""What decides an output is in its fingerprint: no option can be forgotten there."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.clips import make_clip
from vidsr.jobs.image import _fingerprint as image_fingerprint
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import OF_FILM, SEEN_ELSEWHERE, WITHOUT_EFFECT, OptionKeywords, Options
from vidsr.jobs.plan import fingerprint, network_identity, plan

FIELDS = {field.name for field in dataclasses.fields(Options)}
OTHER: dict[str, Any] = {  # for each option that a plan decides by, another value than the default
    "scale": 2.0,
    "size": "96x64",
    "square_pixels": True,
    "codec": "hevc",
    "crf": 30,
    "preset": "ultrafast",
    "pix_fmt": "yuv444p",
    "container": "mkv",
    "threads": 1,
    "start": Fraction(1, 25),
    "end": Fraction(2, 25),
    "deinterlace": "off",
    "grain": 0.5,
    "crop": "32x24+8+8",
    "target_size": 10**6,
}


class Network:
    """A network that is always the same."""

    def identity(self) -> dict[str, Any]:
        return {"model": "m"}


def facts(source: Path, **options: Any) -> dict[str, str]:
    item = Input(source, source.parent, named=True)
    return plan(item, Target(), Options(**options)).facts(Network())


def test_every_option_is_in_the_fingerprint_or_among_the_named_exceptions() -> None:
    in_words = {name.replace(" ", "_") for name in Options().deciding()}
    assert in_words | SEEN_ELSEWHERE | WITHOUT_EFFECT == FIELDS
    assert not in_words & (SEEN_ELSEWHERE | WITHOUT_EFFECT)
    assert not SEEN_ELSEWHERE & WITHOUT_EFFECT
    assert in_words >= OF_FILM - {"steady"}


def test_an_option_that_is_new_decides(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Newer(Options):
        gloss: float = 0.0

    assert Newer(gloss=0.5).deciding() == Options().deciding() | {"gloss": "0.5"}
    assert Newer(gloss=0.5).deciding(film=False) == {"gloss": "0.5"}
    assert Options().deciding(film=False) == {}  # fingerprints of images are as they were before there was one


@pytest.mark.parametrize("name", OTHER)
def test_another_value_is_another_job(tmp_path: Path, name: str) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=4, sample_aspect=Fraction(4, 3) if name == "square_pixels" else None)
    assert fingerprint(facts(source)) != fingerprint(facts(source, **{name: OTHER[name]})), name


def test_every_option_that_a_plan_sees_was_tried() -> None:
    of_the_network = {"model", "backend", "precision", "device", "tile", "steady"}
    assert OTHER.keys() == FIELDS - of_the_network - WITHOUT_EFFECT - {"fps"}  # of images: in their source's identity


def test_the_keywords_of_python_are_the_options() -> None:
    assert OptionKeywords.__annotations__.keys() == FIELDS


def test_how_still_films_are_held_is_no_matter_of_an_image(tmp_path: Path) -> None:
    class Steady(Network):
        def identity(self) -> dict[str, Any]:
            return super().identity() | {"steady": 0.5}

    path = tmp_path / "a.png"
    path.write_bytes(b"any")
    found = [image_fingerprint(path, (8, 8), Options(), network) for network in (Network(), Steady())]
    assert found[0] == found[1]
    assert network_identity(Network()) != network_identity(Steady())
