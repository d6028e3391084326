"""The public API: what it exports, and that it does what the command line does."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import vidsr
from tests.clips import make_clip
from vidsr.errors import MediaError, UsageError
from vidsr.frame import Colour, Frame, PixelFormat
from vidsr.jobs.events import Advanced, Done, Skipped, Started


def test_exports() -> None:
    assert vidsr.__all__ == ["Upscaler", "VidsrError", "available_models", "probe", "upscale_video"]
    assert all(getattr(vidsr, name) is not None for name in vidsr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'enlarge'"):
        vidsr.enlarge  # noqa: B018


def test_upscale_video(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=4)
    events: list[object] = []
    done = vidsr.upscale_video(source, model="bicubic", backend="cpu", scale=2, on_event=events.append)
    assert isinstance(done, Done)
    assert done.num_frames == 4
    assert [type(event) for event in events][:2] == [Started, Advanced]
    with av.open(str(done.output)) as container:
        assert container.streams.video[0].width == 128


def test_errors_are_the_projects_own(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        vidsr.upscale_video(tmp_path / "no.mp4", model="bicubic", backend="cpu")
    with pytest.raises(UsageError):
        vidsr.upscale_video(tmp_path / "no.mp4", scale=9)


def test_the_snippet_of_the_readme() -> None:
    with vidsr.Upscaler("bicubic", scale=4) as upscaler:
        assert upscaler(np.zeros((90, 160, 3), np.uint8)).shape == (360, 640, 3)


def test_no_array_and_no_size_are_bad_usage() -> None:
    pictures: list[Any] = [Image.new("RGB", (4, 4)), [[1, 2], [3, 4]], "photo.png"]
    sizes: list[Any] = [(0, 4), (7.5, 8), (10, 8, 3), 10, "10x8"]
    with vidsr.Upscaler("bicubic", scale=2, backend="cpu") as upscaler:
        for picture in pictures:
            with pytest.raises(UsageError, match=r"array of numpy, not of type \w+; numpy.asarray"):
                upscaler(picture)
        for size in sizes:
            with pytest.raises(UsageError, match="whole pixels, not"):
                upscaler(np.zeros((4, 4, 3), np.uint8), size=size)


@pytest.mark.parametrize(
    ("wrong", "near"), [("sacle", "scale"), ("keepgoing", "keep_going"), ("over_write", "overwrite")]
)
def test_a_misspelt_keyword_is_bad_usage_and_the_near_name_is_said(tmp_path: Path, wrong: str, near: str) -> None:
    values: dict[str, Any] = {wrong: 1}
    with pytest.raises(UsageError, match=f"has no keyword '{wrong}'; did you mean {near}\\?"):
        vidsr.upscale_video(tmp_path / "a.mp4", **values)


def test_a_misspelt_keyword_of_the_upscaler_is_bad_usage() -> None:
    values: dict[str, Any] = {"presicion": "fp32"}
    with pytest.raises(UsageError, match=r"^Upscaler has no keyword 'presicion'; did you mean precision\?"):
        vidsr.Upscaler("bicubic", **values)
    values = {"zzz": 1}
    with pytest.raises(UsageError, match="it has model, scale, backend"):
        vidsr.Upscaler("bicubic", **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"start": "0:10"}, "start must be a number of seconds or None, not '0:10'"),
        ({"scale": "2"}, "scale must be a number or None, not '2'"),
        ({"size": 1080}, "size must be text or None, not 1080"),
        ({"crf": 17.5}, "crf must be a whole number or None, not 17.5"),
        ({"codec": None}, "codec must be text, not None"),
        ({"on_event": None}, "on_event must be a function that takes an event, not None"),
        ({"overwrite": "no"}, "overwrite must be True or False, not 'no'"),
        ({"output": 5}, "output must be text or a path, not 5"),
        ({"preview": 5}, "preview must be text or a path, not 5"),
        ({"source": "https://example.org/a.mp4"}, "vidsr reads files, not addresses"),
        ({"source": ""}, "the name of a source is empty"),
    ],
)
def test_a_value_of_another_type_is_bad_usage_before_anything_is_read(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        vidsr.upscale_video(**{"source": "not-there.mp4", **values})


def test_numbers_of_numpy_and_weights_as_a_path_are_fine(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=3)
    scale: Any = np.float32(2)
    made = vidsr.upscale_video(source, model=Path("bicubic"), backend="cpu", scale=scale, end=np.float64(0.05))
    again = vidsr.upscale_video(source, model="bicubic", backend="cpu", scale=2, end=0.05)
    assert isinstance(made, Done)
    assert isinstance(again, Skipped)  # one and the same job


def test_the_upscaler_and_probe_refuse_other_types() -> None:
    wrong: list[tuple[Any, dict[str, Any]]] = [("bicubic", {"scale": "4"}), (None, {}), ("bicubic", {"backend": 5})]
    for model, values in wrong:
        with pytest.raises(UsageError, match=r"^(scale|model|backend) must be "):
            vidsr.Upscaler(model, **values)
    path: Any = 5
    with pytest.raises(UsageError, match="path must be text or a path, not 5"):
        vidsr.probe(path)


def test_what_is_no_frame_is_bad_usage() -> None:
    layout, colour = PixelFormat.parse("yuv420p"), Colour()
    small, large = np.zeros((2, 2), np.uint8), np.zeros((4, 4), np.uint8)
    right = Frame((large, small, small), layout, colour, 0, Fraction(1))
    wrong: list[tuple[Any, str]] = [
        (None, "not from NoneType"),
        ([np.zeros((4, 4, 3), np.uint8)], "not of type ndarray"),
        ([replace(right, planes=(large, large, large))], r"cannot be \(4, 4\), \(4, 4\), \(4, 4\)"),
        ([replace(right, planes=())], "cannot be none"),
        ([replace(right, planes=(large.astype(np.float32), small, small))], "are of uint8, not float32, uint8, uint8"),
    ]
    with vidsr.Upscaler("bicubic", scale=2, backend="cpu") as upscaler:
        assert len(list(upscaler.stream([right]))) == 1
        for frames, words in wrong:
            with pytest.raises(UsageError, match=words):
                list(upscaler.stream(frames))


def test_how_to_make_a_wrong_array_right_is_said() -> None:
    floats: Any = np.zeros((4, 5, 3), np.float32)
    with vidsr.Upscaler("bicubic", scale=2, backend="cpu") as upscaler:
        with pytest.raises(UsageError, match=r"of float32; \(image \* 255\)"):
            upscaler(floats)
        with pytest.raises(UsageError, match=r"numpy\.moveaxis"):
            upscaler(np.zeros((3, 4, 5), np.uint8))


def test_an_image_may_be_given_by_several_threads() -> None:
    def mean(level: int) -> set[int]:
        return {int(upscaler(np.full((16, 20, 3), level, np.uint8)).max()) for _ in range(10)}

    with vidsr.Upscaler("bicubic", scale=2) as upscaler, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(mean, (10, 60, 110, 160))) == [{10}, {60}, {110}, {160}]


def test_public_names_are_completed() -> None:
    code = "import vidsr; print(set(vidsr.__all__) <= set(dir(vidsr)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
