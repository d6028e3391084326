"""A bar chart of a benchmark as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vidsr.bench.report import BenchReport
from vidsr.errors import OutputError
from vidsr.files import replacing

WIDTH, ROW, MARGIN, LABEL, BAR = 1100, 30, 24, 390, 470
INK, FAINT, PAPER = (32, 36, 44), (120, 126, 138), (255, 255, 255)
COLOURS = {"generator": (52, 101, 164), "with colour and copies": (115, 160, 205), "whole job": (78, 154, 6)}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what was measured (a key of `COLOURS`), of which line and size, its frames a second and a remark."""

    kind: str
    label: str
    fps: float
    remark: str


def bars(report: BenchReport) -> list[Bar]:
    """All of a report: for each size and line the generator, the step around it, and the whole job."""
    found: list[Bar] = []
    jobs = {(job.line.backend, job.line.precision, job.width, job.height): job for job in report.jobs}
    for speed in report.networks:
        label = f"{speed.line.name}, {speed.width}x{speed.height}"
        found.append(Bar("generator", label, speed.fps, f"{flops(speed.flops)}, {speed.peak_share:.0%} of the peak"))
        found.append(Bar("with colour and copies", label, speed.step_fps, f"{speed.step_share:.0%} of the generator"))
        even = speed.width // 2 * 2, speed.height // 2 * 2  # a job's clip is 4:2:0
        job = jobs.pop((speed.line.backend, speed.line.precision, *even), None)
        if job is not None:
            remark = f"limited by {job.limit} ({job.busy[job.limit]:.0%} busy)"
            found.append(Bar("whole job", label, job.fps, remark))
    return found


def draw(report: BenchReport) -> Image.Image:
    """The chart, as long as it must be."""
    rows = bars(report)
    picture = Image.new("RGB", (WIDTH, 2 * MARGIN + 110 + ROW * max(len(rows), 1)), PAPER)
    pen = ImageDraw.Draw(picture)
    title, text = ImageFont.load_default(22), ImageFont.load_default(15)
    pen.text((MARGIN, MARGIN), f"vidsr bench: {report.model} x{report.scale}, frames a second", INK, title)
    where = report.machine["gpu"] if report.machine["gpu"] != "none" else report.machine["cpu"]
    pen.text((MARGIN, MARGIN + 32), where, FAINT, text)
    x = MARGIN
    for kind, colour in COLOURS.items():
        pen.rectangle((x, MARGIN + 62, x + 14, MARGIN + 76), colour)
        pen.text((x + 20, MARGIN + 60), kind, INK, text)
        x += 50 + round(text.getlength(kind))
    longest = max((row.fps for row in rows), default=1.0)
    for number, row in enumerate(rows):
        y = MARGIN + 100 + ROW * number
        pen.text((MARGIN, y + 4), row.label, INK, text)
        length = max(2, round(BAR * 0.55 * row.fps / longest))
        pen.rectangle((LABEL, y + 3, LABEL + length, y + ROW - 7), COLOURS[row.kind])
        pen.text((LABEL + length + 8, y + 4), f"{row.fps:.4g}  {row.remark}", INK, text)
    return picture


def save(report: BenchReport, path: Path) -> None:
    """Write the chart; the suffix says in which format.

    Raises:
        OutputError: it cannot be written there.
    """
    try:
        kind = Image.registered_extensions()[path.suffix.lower()]
        with replacing(path, shared=True) as part:
            draw(report).save(part, kind)
    except (OSError, KeyError) as error:
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: the chart cannot be written ({why}); name a .png file") from error


def flops(rate: float) -> str:
    """``443 GFLOP/s``, ``1.2 TFLOP/s``."""
    return f"{rate / 1e12:.4g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.4g} GFLOP/s"
