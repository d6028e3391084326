"""Decoding on a GPU that does not take the stream: what software makes of it, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from tests.clips import make_clip
from vidsr.errors import MediaError
from vidsr.media.encoders import HARDWARE_DECODERS
from vidsr.media.read import decoder, nvdec
from vidsr.media.read.decoder import NOT_TAKEN
from vidsr.media.read.open import decoder_of
from vidsr.media.read.reader import Reader

SAID = f"decoded in software: {NOT_TAKEN}"


class Refusing:
    """As FFmpeg's decoder of AV1 without hardware: it opens, and fails at the packet of that number."""

    name = "refusing"
    sample_aspect_ratio = None

    def __init__(self, stream: VideoStream, at: int) -> None:
        self.at, self.num_packets = at, 0

    def decode(self, packet: object) -> list[av.VideoFrame]:
        self.num_packets += 1
        if self.num_packets > self.at:
            raise av.error.FFmpegError(38, "Function not implemented")
        return []


def silent_software(stream: VideoStream, _gpu: int) -> VideoCodecContext:
    """As FFmpeg's other decoders, which go on in software without a word."""
    return decoder_of(stream)


@pytest.mark.parametrize(
    "nvdec", [silent_software, lambda stream, _: Refusing(stream, 0), lambda stream, _: Refusing(stream, 2)]
)
def test_software_decodes_all_that_the_gpu_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvdec: Callable[[VideoStream, int], VideoCodecContext]
) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=8)
    with Reader(clip) as reader:
        expected = [(frame.pts, [plane.copy() for plane in frame.planes]) for frame in reader]
        assert reader.report.notes == []
    monkeypatch.setattr(decoder, "nvdec", nvdec)
    with Reader(clip, gpu=0) as reader:
        found = [(frame.pts, [plane.copy() for plane in frame.planes]) for frame in reader]
    assert reader.report.notes == [SAID]
    assert [pts for pts, _ in found] == [pts for pts, _ in expected]
    assert len(found) == 8
    for (_, a), (_, b) in zip(found, expected, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", list(HARDWARE_DECODERS)[1:])
def test_what_a_system_lacks_is_decoded_by_software(tmp_path: Path, name: str) -> None:
    if name in hwdevices_available():
        pytest.skip(f"this build of FFmpeg has {name}")
    clip = make_clip(tmp_path / "a.mp4", frames=8)
    with Reader(clip) as plain, Reader(clip, gpu=name) as hardware:
        pairs = list(zip(plain, hardware, strict=True))
    assert len(pairs) == 8
    assert all(np.array_equal(x, y) for a, b in pairs for x, y in zip(a.planes, b.planes, strict=True))
    assert hardware.report.notes == [f"decoded in software: this build of FFmpeg has no {name} for h264"]
    with pytest.raises(MediaError, match=f"this build of FFmpeg has no {name}"):
        nvdec.check_nvdec("h264", name)


def test_a_gpu_that_takes_the_stream_is_left_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=4)
    monkeypatch.setattr(decoder, "nvdec", silent_software)
    monkeypatch.setattr(decoder, "is_from_gpu", lambda _: True)
    with Reader(clip, gpu=0) as reader:
        assert len(list(reader)) == 4
    assert reader.report.notes == []


@pytest.mark.parametrize("codec", list(nvdec.NVDEC_CODECS))
def test_doctor_tries_a_picture(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With software in the GPU's place: it decodes the picture, and is told from a GPU."""
    pictures: list[av.VideoFrame] = []
    real = nvdec.is_from_gpu

    def note(picture: av.VideoFrame) -> bool:
        pictures.append(picture)
        return real(picture)

    name = "libdav1d" if codec == "av1" else codec
    monkeypatch.setattr(nvdec, "_open_nvdec", lambda *_: av.CodecContext.create(name, "r"))
    monkeypatch.setattr(nvdec, "is_from_gpu", note)
    with pytest.raises(MediaError, match=f"^GPU 1 does not decode {codec}$"):
        nvdec.check_nvdec(codec, 1)
    assert [(one.width, one.height) for one in pictures] == [(256, 256)]
    assert abs(int(pictures[0].to_ndarray(format="gray").mean()) - 130) < 6
    monkeypatch.setattr(nvdec, "is_from_gpu", lambda _: True)
    nvdec.check_nvdec(codec, 1)
