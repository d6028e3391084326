"""What the picture stream of a joined output says of itself: shape, rotation, colour, title, tag."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tests.clips import Audio, make_clip
from tests.media.making import HEIGHT, numbers, spec_of, upscaled
from vidsr.frame import Colour, Matrix
from vidsr.media.containers import CONTAINERS
from vidsr.media.read.probe import probe
from vidsr.media.side_data import told
from vidsr.verify.comparison import compare

SOUND = (Audio(seconds=1.0, language="eng", title="Original", dispositions=int(Disposition.default)),)


@pytest.mark.parametrize(("encoder", "layout", "suffix", "container"), [
    ("libx264", "yuv420p", ".mp4", "mkv"), ("libsvtav1", "yuv420p", ".mp4", "mkv"), ("ffv1", "yuv420p", ".mkv", "mkv"),
    ("prores_ks", "yuv422p10le", ".mov", "mkv"), ("libvpx-vp9", "yuv420p", ".mp4", "webm"),
    ("libx264", "yuv420p", ".mp4", "mp4"), ("libx264", "yuv420p", ".mp4", "ts"),
    ("prores_ks", "yuv422p10le", ".mov", "mov"), ("libvpx-vp9", "yuv420p", ".mp4", "mp4"),
    ("libsvtav1", "yuv420p", ".mp4", "mp4"),
])  # fmt: skip
def test_sample_aspect_and_title_survive(
    tmp_path: Path, encoder: str, layout: str, suffix: str, container: str
) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=SOUND)
    spec = spec_of(encoder, layout, sample_aspect=Fraction(64, 45))
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec, pts=range(6), suffix=suffix, container=container)
    assert probe(output).video.sample_aspect == Fraction(64, 45)
    assert len(numbers(output)) == 6
    with av.open(str(output)) as opened:
        assert "vidsr" not in opened.streams.video[0].metadata.get("title", "")


def test_rewritten_track_has_the_right_checksum(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=SOUND)
    output = tmp_path / "out.mkv"
    upscaled(source, output, spec=spec_of("ffv1", sample_aspect=Fraction(2, 1)), pts=range(3), suffix=".mkv")
    data = output.read_bytes()
    tracks = data.index(b"\x16\x54\xae\x6b", data.index(b"\x16\x54\xae\x6b") + 4)  # after the table of contents
    length = 9 - data[tracks + 4].bit_length()
    size = int.from_bytes(data[tracks + 4 : tracks + 4 + length], "big") & ((1 << 7 * length) - 1)
    body = data[tracks + 4 + length :][:size]
    assert body[:2] == b"\xbf\x84"
    assert int.from_bytes(body[2:6], "little") == zlib.crc32(body[6:])


def test_picture_stream_keeps_its_title_beside_the_aspect(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        source = make_clip(tmp_path / "b.mp4")
        with av.open(str(source)) as made:
            stream = out.add_stream_from_template(made.streams.video[0], opaque=True)
            stream.metadata["title"] = "Grüße " * 20
            for packet in made.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    spec = spec_of("ffv1", sample_aspect=Fraction(4, 3))
    upscaled(tmp_path / "a.mkv", tmp_path / "out.mkv", spec=spec, pts=range(3), suffix=".mkv")
    with av.open(str(tmp_path / "out.mkv")) as opened:
        title = opened.streams.video[0].metadata["title"]
    assert title
    assert ("Grüße " * 20).startswith(title)
    assert probe(tmp_path / "out.mkv").video.sample_aspect == Fraction(4, 3)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_rotation_and_mirror_survive(tmp_path: Path, container: str) -> None:
    matrix = (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    source = make_clip(tmp_path / "a.mp4", display_matrix=matrix)
    upscaled(source, tmp_path / f"out.{container}")
    assert probe(tmp_path / f"out.{container}").video.display_matrix == matrix


@pytest.mark.parametrize(("matrix", "mkv", "ts"), [
    ((56756, 32768, 0, -32768, 56756, 0, 0, 0, 1 << 30), "30 degrees: ok", "30 degrees: dropped"),
    ((-56756, 32768, 0, 32768, 56756, 0, 0, 0, 1 << 30), "mirrored: ok", "mirrored: dropped"),
    ((32768, 0, 0, 0, 32768, 0, 0, 0, 1 << 30), "0 degrees: ok", "0 degrees: ok"),
    ((87381, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), "stretched: dropped", "stretched: dropped"),
    ((65536, 999, 0, 0, 65536, 0, 0, 0, 1 << 30), "stretched: dropped", "stretched: dropped"),
])  # fmt: skip
def test_of_other_matrices_is_kept_what_the_container_holds(
    tmp_path: Path, matrix: tuple[int, ...], mkv: str, ts: str
) -> None:
    """Matroska holds any turn and mirror, but rounded; what is not kept is said before the job."""
    source = make_clip(tmp_path / "a.mp4", display_matrix=matrix)
    for container, wanted in (("mp4", mkv.replace("dropped", "ok")), ("mkv", mkv), ("ts", ts)):
        output, row = tmp_path / f"out.{container}", CONTAINERS[container]
        upscaled(source, output, container=container)
        found = next(check for check in compare(source, output).checks if check.name == "rotation")
        assert f"{found.source}: {found.verdict}" == wanted
        said = [*told(probe(source).video, "h264", row, CONTAINERS["mp4"])]
        assert any("rotation is dropped" in line for line in said) == (found.verdict == "dropped")


def test_translation_of_the_matrix_grows(tmp_path: Path) -> None:
    matrix = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)  # a quarter turn of 64x48
    source = make_clip(tmp_path / "a.mp4", display_matrix=matrix)
    upscaled(source, tmp_path / "out.mp4")
    found = probe(tmp_path / "out.mp4").video.display_matrix
    assert found == (0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)


def test_untagged_source_becomes_a_tagged_output(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", width=480, height=270)
    info = probe(source)
    assert not info.video.colour_tagged
    spec = spec_of(colour=info.video.colour, width=480, height=270, time_base=info.video.time_base)
    upscaled(source, tmp_path / "out.mp4", spec=spec, pts=range(0, 3))
    made = probe(tmp_path / "out.mp4").video
    assert made.colour_tagged
    assert made.colour == info.video.colour
    assert made.colour.matrix in (Matrix.SMPTE170M, Matrix.BT470BG)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1"])
def test_hdr10_reaches_bitstream_and_container(tmp_path: Path, encoder: str, container: str) -> None:
    mastering = struct.pack("<22i", *(34000, 50000, 16000, 50000, 13250, 50000, 34500, 50000, 7500, 50000), *(
        3000, 50000, 15635, 50000, 16450, 50000, 50, 10000, 10000000, 10000, 1, 1))  # fmt: skip
    light = struct.pack("<2I", 1000, 400)
    spec = spec_of(
        encoder, "yuv420p10le", colour=Colour(Matrix.BT2020_NCL, 9, 16), mastering_display=mastering, light_level=light
    )
    source = make_clip(tmp_path / "a.mp4")
    output = tmp_path / f"out.{container}"
    upscaled(source, output, spec=spec, pts=range(3))
    made = probe(output).video
    assert made.light_level == light
    assert made.mastering_display is not None
    assert (made.colour.primaries, made.colour.transfer) == (9, 16)
    if container == "mp4":
        assert b"mdcv" in output.read_bytes()
        assert b"clli" in output.read_bytes()
    else:
        assert b"\x55\xd0" in output.read_bytes()[:4096]  # Matroska's MasteringMetadata


def test_hevc_in_mp4_has_the_tag_that_apple_wants(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    upscaled(source, tmp_path / "out.mp4", spec=spec_of("libx265"), pts=range(3))
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()
