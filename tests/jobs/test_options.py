"""Options are checked once, sizes are exact until they are rounded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.clips import make_clip
from vidsr.errors import UsageError
from vidsr.jobs.cluster.workers import Cluster
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options, parse_time
from vidsr.jobs.plan import plan


@pytest.mark.parametrize(
    "values",
    [
        {"scale": 0.0},
        {"scale": 4.5},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"size": "big"},
        {"size": "0x10"},
        {"start": Fraction(-1)},
        {"start": Fraction(5), "end": Fraction(5)},
        {"end": Fraction(0)},
        {"tile": 8},
        {"crf": -1},
        {"crf": 99},
        {"device": -1},
        {"threads": 0},
        {"crop": "big"},
    ],
)
def test_impossible_values_are_bad_usage(values: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        Options(**values)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert str(caught.value).split()[0] in values, "named so that users of the command line and of Python know it"


@pytest.mark.parametrize(
    ("options", "source", "expected"),
    [
        ({"scale": 4.0}, (320, 136), (1280, 544)),
        ({"scale": 1.5}, (321, 181), (Fraction(963, 2), Fraction(543, 2))),
        ({"size": "1080p"}, (480, 270), (1920, 1080)),
        ({"size": "1080p"}, (640, 480), (1440, 1080)),  # limited by its height
        ({"size": "1080p"}, (640, 272), (1920, 816)),  # limited by its width
        ({"size": "2160p"}, (608, 1080), (2160, Fraction(1080 * 2160, 608))),  # portrait
        ({"size": "800x600"}, (400, 300), (800, 600)),
    ],
)
def test_targets(options: dict[str, object], source: tuple[int, int], expected: tuple[object, object]) -> None:
    assert Options(**options).target(Fraction(source[0]), Fraction(source[1])) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "source"), [("1080p", (3840, 2160)), ("2160p", (320, 180)), ("100x100", (50, 200))])
def test_a_size_out_of_reach_is_bad_usage(size: str, source: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="times the source"):
        Options(size=size).target(Fraction(source[0]), Fraction(source[1]))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1:30", 90), ("0:01:30.5", Fraction(181, 2)), ("2:00:00", 7200), ("0.04", Fraction(1, 25))],
)
def test_times(text: str, seconds: Fraction) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["-1", "1:2:3:4", "soon", "", "1e3"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_time(text)


@pytest.mark.parametrize(("options", "label"), [({}, "x4"), ({"scale": 2.5}, "x2.5"), ({"size": "2160p"}, "2160p")])
def test_labels(options: dict[str, object], label: str) -> None:
    assert Options(**options).label == label  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codec", "device", "gpu"), [("h264_nvenc", 1, 1), ("h264_nvenc", 0, None), ("libx264", 1, None)]
)
def test_the_gpu_that_was_asked_for_encodes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, device: int, gpu: int | None
) -> None:
    monkeypatch.setattr("vidsr.media.write.choice.check_starts", lambda *_: None)
    clip = make_clip(tmp_path / "a.mp4", frames=2)
    job = plan(Input(clip, tmp_path, named=True), Target(), Options(codec=codec, device=device))
    assert job.spec.gpu == gpu


@pytest.mark.parametrize("options", [{"device": 1}, {"decoder": "nvdec"}])
def test_what_a_cluster_cannot_heed_is_bad_usage(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"{name} .* leave"):
        Cluster("local", Options(**options))  # type: ignore[arg-type]
