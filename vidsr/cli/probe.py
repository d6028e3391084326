"""`vidsr probe`: what a file holds, as vidsr sees it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsr.cli.options import Json
from vidsr.cli.output import print_json
from vidsr.cli.sentences import filled
from vidsr.words import counted, num_bytes, printable

if TYPE_CHECKING:
    from fractions import Fraction

    from vidsr.frame import Colour
    from vidsr.media.read.probe import MediaInfo

INDENT = 9  # of what a line's first word says
EXAMPLES = """\b
Examples:
  vidsr probe clip.mp4
  vidsr probe clip.mp4 --json
"""  # \b: lines as they are


def probe(
    file: Annotated[Path, typer.Argument(readable=False, help="A video or an image.")], json: Json = False
) -> None:
    """Show the streams, times, colour and extras of a video."""
    from vidsr.media.read.probe import probe as examine
    from vidsr.media.stills import is_image

    if is_image(file):
        _picture(file, json=json)
        return
    info = examine(file)
    if json:
        print_json(info)
        return
    _say(_lines(info))


def _picture(file: Path, *, json: bool) -> None:
    from vidsr.media.stills import read_image

    pixels, meta = read_image(file)
    names = ("exif", "icc_profile", "xmp", "iptc", "comment")
    held = [name.replace("_", " ") for name in names if getattr(meta, name) is not None]
    channels = {1: "grey", 3: "RGB", 4: "RGB with alpha"}[1 if pixels.ndim == 2 else pixels.shape[2]]
    width, height, bits, size = pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, file.stat().st_size
    if json:
        facts = {"width": width, "height": height, "channels": channels, "bits": bits, "metadata": held}
        print_json({"path": file, "kind": "image", "size": size, **facts})
        return
    lines = [f"{file}: an image, {num_bytes(size)}", f"picture  {width}x{height} {channels}, {bits} bits a sample"]
    _say([*lines, *([f"extras   {', '.join(held)}"] if held else [])])


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(filled(printable(line), sys.stdout, INDENT))


def _lines(info: MediaInfo) -> list[str]:
    video = info.video
    colour = video.colour
    lines = [
        f"{info.path}: {info.container}, {num_bytes(info.size)}"
        + (f", {float(info.duration):.2f} s" if info.duration is not None else ""),
        f"picture  {video.codec} {video.width}x{video.height} {video.pix_fmt}"
        + (f", {float(video.rate):.3f} fps" if video.rate else "")
        + (f", about {counted(video.num_frames, 'frame')}" if video.num_frames else ""),
        f"colour   {colour.matrix.name.lower()}, {_range(colour)} range, chroma {colour.siting}"
        + ("" if video.colour_tagged else " (untagged: assumed from the height)"),
    ]
    if video.sample_aspect != 1:
        lines.append(f"aspect   {video.sample_aspect.numerator}:{video.sample_aspect.denominator} pixels")
    if video.display_matrix:
        lines.append("display  rotated or mirrored by a display matrix, which is kept")
    if video.interlaced:
        lines.append(_scan(video.rate))
    if video.extras:
        lines.append(f"extras   {', '.join(video.extras)}")
    for stream in info.streams:
        words = [f"#{stream.index}", stream.kind, stream.codec, stream.language, stream.title, *stream.dispositions]
        lines.append("stream   " + " ".join(word for word in words if word))
    if info.num_chapters:
        lines.append(f"chapters {info.num_chapters}")
    lines.extend(f"tag      {key}: {value}" for key, value in info.metadata.items())
    return lines


def _scan(rate: Fraction | None) -> str:
    words = "scan     interlaced: upscale makes one picture a frame"
    if not rate:
        return f"{words}; --deinterlace fields makes two"
    return f"{words} ({float(rate):.4g} a second); --deinterlace fields makes {float(2 * rate):.4g}, all of its motion"


def _range(colour: Colour) -> str:
    return "full" if colour.full_range else "limited"
