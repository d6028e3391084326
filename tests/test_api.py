"""The public API: what it exports, and that it does what the command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import vidsr
from tests.clips import make_clip
from vidsr.errors import MediaError, UsageError
from vidsr.jobs.events import Advanced, Done, Started


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
    sizes: list[Any] = [(0, 4), (7.5, 8)]
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
