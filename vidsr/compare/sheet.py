"""Labelled PNG sheets of the pictures of a moment, and a plot of measures over time."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidsr.compare.measure import MEASURES
from vidsr.compare.pair import Comparison
from vidsr.compare.picture import Pixels, View
from vidsr.errors import OutputError

CROP = 320  # largest side of a crop in output pixels
GAP = 12
INK, PAPER, SOFT = (24, 28, 34), (250, 250, 248), (110, 118, 128)
LINES = ((0, 102, 178), (196, 78, 12), (20, 120, 60))
PLOT_SIZE = (1200, 240)  # of one measure
FONT_SIZE = 16


def busiest_crop(pixels: Pixels, side: int = CROP) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the square with the most detail, at most `side` pixels wide and high."""
    height, width = pixels.shape[:2]
    wide, high = min(side, width), min(side, height)
    luma = pixels.astype(np.float32).mean(axis=2)
    detail = np.zeros_like(luma)
    detail[:, 1:] += np.abs(np.diff(luma, axis=1))
    detail[1:] += np.abs(np.diff(luma, axis=0))
    sums = np.pad(detail.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    tops, lefts = np.arange(0, height - high + 1, 8), np.arange(0, width - wide + 1, 8)
    t, s = tops[:, None], lefts[None, :]
    total = sums[t + high, s + wide] - sums[t, s + wide] - sums[t + high, s] + sums[t, s]
    row, column = np.unravel_index(int(total.argmax()), total.shape)
    left, top = int(lefts[column]), int(tops[row])
    return left, top, left + wide, top + high


def sheet(view: View) -> Image.Image:
    """The whole last network's picture, and below it the same crop of every picture, each with its label."""
    font = _font()
    box = busiest_crop(view.pictures[0].pixels)
    crops = [Image.fromarray(picture.pixels).crop(box) for picture in view.pictures]
    zoom = max(1, CROP // max(crops[0].size))
    crops = [crop.resize((crop.width * zoom, crop.height * zoom), Image.Resampling.NEAREST) for crop in crops]
    wide = max(crops[0].width, 220)
    columns = max(1, min(len(crops), 4))
    rows = math.ceil(len(crops) / columns)
    width = GAP + columns * (wide + GAP)
    text = FONT_SIZE * 2 + 14
    whole = Image.fromarray(view.pictures[-1 if not view.figures else 0].pixels)
    whole.thumbnail((width - 2 * GAP, 600), Image.Resampling.LANCZOS)
    height = GAP * 2 + FONT_SIZE + whole.height + rows * (crops[0].height + text + GAP) + GAP
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, GAP), f"{view.title}   {view.size[0]}x{view.size[1]}   crop at {box[0]},{box[1]}", INK, font)
    canvas.paste(whole, (GAP, GAP * 2 + FONT_SIZE))
    top = GAP * 3 + FONT_SIZE + whole.height
    for number, (picture, crop) in enumerate(zip(view.pictures, crops, strict=True)):
        x = GAP + (number % columns) * (wide + GAP)
        y = top + (number // columns) * (crops[0].height + text + GAP)
        canvas.paste(crop, (x, y))
        draw.text((x, y + crop.height + 4), _fit(picture.label, wide, font), INK, font)
        below = _figures(view, picture.label) or picture.note
        draw.text((x, y + crop.height + 8 + FONT_SIZE), _fit(below, wide, font), SOFT, font)
    return canvas


def _figures(view: View, label: str) -> str:
    values = view.figures.get(label)
    return f"PSNR {values['psnr']:.2f} dB, SSIM {values['ssim']:.3f}" if values else ""


def plot(comparison: Comparison) -> Image.Image:
    """Every measure over time, one panel each, one line for each film."""
    names = list(next(iter(comparison.rows[0].figures.values())))
    width, high = PLOT_SIZE
    canvas = Image.new("RGB", (width, high * len(names)), PAPER)
    for number, name in enumerate(names):
        _panel(ImageDraw.Draw(canvas), comparison, name, number * high)
    return canvas


def _panel(draw: ImageDraw.ImageDraw, comparison: Comparison, name: str, top: int) -> None:
    width, high = PLOT_SIZE
    left, right, upper, lower = 80, width - GAP, top + 40, top + high - 30
    font = _font()
    lines = {label: [row.figures[label][name] for row in comparison.rows] for label in comparison.rows[0].figures}
    finite = [value for values in lines.values() for value in values if math.isfinite(value)] or [0.0]
    low, peak = min(finite), max(finite)
    span = (peak - low) or 1.0
    times = [row.seconds or 0.0 for row in comparison.rows]
    length = (times[-1] - times[0]) or 1.0
    draw.rectangle((left, upper, right, lower), outline=SOFT)
    draw.text((GAP, top + 10), MEASURES.get(name, name), INK, font)
    for value, y in ((peak, upper), (low, lower)):
        draw.text((GAP, y - FONT_SIZE // 2), f"{value:.4g}", SOFT, font)
    draw.text((right - 90, lower + 6), f"{times[-1]:.1f} s", SOFT, font)
    x = 300
    for colour, (label, values) in zip(LINES, lines.items(), strict=False):
        clipped = [min(value, peak) for value in values]
        points = [
            (left + (at - times[0]) / length * (right - left), lower - (value - low) / span * (lower - upper))
            for at, value in zip(times, clipped, strict=True)
        ]
        draw.line(points, fill=colour, width=2)
        if len(points) == 1:
            draw.ellipse((points[0][0] - 3, points[0][1] - 3, points[0][0] + 3, points[0][1] + 3), fill=colour)
        draw.text((x, top + 10), label, colour, font)
        x += int(font.getlength(label)) + 40


def save(image: Image.Image, path: Path) -> Path:
    """Write a PNG.

    Raises:
        OutputError: the folder cannot be written, or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another -o.") from error
    return path


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(FONT_SIZE)


def _fit(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """`text`, cut in the middle to `width` pixels."""
    if font.getlength(text) <= width:
        return text
    for keep in range(len(text), 2, -1):
        short = text[: keep // 2] + "..." + text[-(keep // 2) :]
        if font.getlength(short) <= width:
            return short
    return text[:3]


def sheets(views: Sequence[View], folder: Path) -> list[Path]:
    """One PNG for each view, numbered in their order."""
    paths = []
    for number, view in enumerate(views, 1):
        name = re.sub(r"[^0-9A-Za-z.]+", "-", view.title).strip("-.")
        paths.append(save(sheet(view), folder / f"{number:02d}-{name}.png"))
    return paths
