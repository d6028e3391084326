"""Labelled PNG sheets of the pictures of a moment, and a plot of measures over time."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vidsr.compare.measure import NAMES, UNITS, UNSTEADY, written
from vidsr.compare.pair import Comparison
from vidsr.compare.picture import Picture, Pixels, View, busiest
from vidsr.errors import OutputError
from vidsr.files import fitting, replacing
from vidsr.words import printable

CROP = 320  # largest side of a crop in output pixels
GAP = 12
NUM_COLUMNS = 4
INK, PAPER, SOFT, RULE = (24, 28, 34), (250, 250, 248), (88, 96, 106), (218, 220, 222)
LINES = ((0, 102, 178), (196, 78, 12), (20, 120, 60))
PLOT_SIZE = (1200, 270)  # of one measure
NUM_LINES = 4  # of a panel's grid, besides the axis
SMOOTH = 3
FONT_SIZE = 16
LINE = FONT_SIZE + 4


def sheet(view: View) -> Image.Image:
    """The whole picture, of the last network or of the first film, and below it the same crop of every picture."""
    font = _font()
    box = busiest(view.pictures[0].pixels, CROP, CROP)
    crops = [_crop(picture.pixels, box) for picture in view.pictures]
    wide = max(crops[0].width, CROP)
    columns = min(len(crops), NUM_COLUMNS)
    width = GAP + columns * (wide + GAP)
    lines = [_lines(view, picture) for picture in view.pictures]
    cell = crops[0].height + max(map(len, lines)) * LINE + GAP + 6
    compared = any("psnr" in values for values in view.figures.values())
    whole = Image.fromarray(view.pictures[0 if compared else -2].pixels)  # the last is the source, or the difference
    whole.thumbnail((width - 2 * GAP, 600), Image.Resampling.LANCZOS)
    top = GAP * 3 + FONT_SIZE + whole.height
    canvas = Image.new("RGB", (width, top + math.ceil(len(crops) / columns) * cell), PAPER)
    draw = ImageDraw.Draw(canvas)
    title = f"{view.title}   {view.size[0]}x{view.size[1]}   crop at {box[0]},{box[1]}"
    draw.text((GAP, GAP), _fit(title, width - 2 * GAP, font), INK, font)
    canvas.paste(whole, (GAP, GAP * 2 + FONT_SIZE))
    for number, (crop, texts) in enumerate(zip(crops, lines, strict=True)):
        x, y = GAP + (number % columns) * (wide + GAP), top + (number // columns) * cell
        canvas.paste(crop, (x, y))
        for k, text in enumerate(texts):
            draw.text((x, y + crop.height + 4 + k * LINE), _fit(text, wide, font), SOFT if k else INK, font)
    return canvas


def _crop(pixels: Pixels, box: tuple[int, int, int, int]) -> Image.Image:
    """A part of a picture; a small one is enlarged by a whole number, pixels stay squares."""
    crop = Image.fromarray(pixels).crop(box)
    zoom = max(1, CROP // max(crop.size))
    return crop.resize((crop.width * zoom, crop.height * zoom), Image.Resampling.NEAREST)


def _lines(view: View, picture: Picture) -> list[str]:
    """What stands below a crop."""
    values = view.figures.get(picture.label, {})
    shown = [name for name in ("psnr", "ssim", UNSTEADY) if name in values]
    figures = ", ".join(f"{NAMES.get(name, name)} {written(name, values[name])}" for name in shown)
    return [text for text in (picture.label, figures, picture.note) if text]


def plot(comparison: Comparison) -> Image.Image:
    """Every measure over time, one panel each, one line for each film."""
    names = list(next(iter(comparison.rows[0].figures.values())))
    width, high = PLOT_SIZE
    canvas = Image.new("RGB", (width * SMOOTH, high * len(names) * SMOOTH), PAPER)
    for number, name in enumerate(names):
        _panel(ImageDraw.Draw(canvas), comparison, name, number * high)
    return canvas.resize((width, high * len(names)), Image.Resampling.BOX)


def _panel(draw: ImageDraw.ImageDraw, comparison: Comparison, name: str, top: int) -> None:
    """One measure; everything is drawn `SMOOTH` times as large, and reduced at the end."""
    width, high = PLOT_SIZE
    left, right, upper, lower = 90, width - 24, top + 44, top + high - 34
    font = _font(SMOOTH * FONT_SIZE)
    lines = {label: [row.figures[label][name] for row in comparison.rows] for label in comparison.rows[0].figures}
    low, peak = _range([value for values in lines.values() for value in values])
    times = [row.seconds or 0.0 for row in comparison.rows]
    length = (times[-1] - times[0]) or 1.0

    def text(x: float, y: float, words: str, colour: tuple[int, int, int], anchor: str) -> None:
        draw.text((x * SMOOTH, y * SMOOTH), words, colour, font, anchor)

    for k in range(NUM_LINES + 1):
        y = lower - (lower - upper) * k / NUM_LINES
        draw.line([SMOOTH * v for v in (left, y, right, y)], RULE, SMOOTH)
        text(left - 10, y, f"{low + (peak - low) * k / NUM_LINES:.{_decimals(low, peak)}f}", SOFT, "rm")
        x = left + (right - left) * k / NUM_LINES
        text(
            x,
            lower + 8,
            f"{times[0] + length * k / NUM_LINES:.1f} s",
            SOFT,
            "ma" if 0 < k < NUM_LINES else "la" if not k else "ra",
        )
    end = 12 + draw.textlength(heading := _heading(name), font) / SMOOTH
    text(12, top + 22, heading, INK, "lm")
    room = round(SMOOTH * ((right - end) / len(lines) - 30))
    for colour, (film, values) in zip(LINES, lines.items(), strict=False):
        label = _fit(film, room, font)
        points = [
            (SMOOTH * (left + (at - times[0]) / length * (right - left)),
             SMOOTH * (lower - (min(value, peak) - low) / (peak - low) * (lower - upper)))
            for at, value in zip(times, values, strict=True)
        ]  # fmt: skip
        draw.line(points, colour, 2 * SMOOTH, "curve")
        text(end + 30, top + 22, label, colour, "lm")
        end += 30 + draw.textlength(label, font) / SMOOTH


def _heading(name: str) -> str:
    if name not in NAMES:
        return f"{name}, lower is better"
    unit = f" ({UNITS[name]})" if name in UNITS else ""
    return f"{NAMES[name]} of luma{unit}, higher is better"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the lowest to the highest finite value, a little more where they are equal."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, peak = min(finite), max(finite)
    return (low, peak) if peak > low else (low - 0.5, peak + 0.5)


def _decimals(low: float, peak: float) -> int:
    """As many as tell the rules of a panel apart."""
    return max(0, 1 - math.floor(math.log10((peak - low) / NUM_LINES)))


def save(image: Image.Image, path: Path) -> Path:
    """Write a PNG.

    Raises:
        OutputError: the folder cannot be written, or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as part:
            image.save(part, "PNG")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another -o.") from error
    return path


def _font(size: int = FONT_SIZE) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _fit(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """`text` on one line, cut in the middle to `width` pixels."""
    text = printable(text)
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
        paths.append(save(sheet(view), folder / fitting(f"{number:02d}-{name}", ".png")))
    return paths
