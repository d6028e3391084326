"""The pictures of the documents, made from the bundled clip by the shipped weights, into docs/pictures.

    python scripts/pictures.py [before-after] [sheet] [page] [progress] [models]

`page` needs Chromium, its driver and selenium, `progress` needs tmux. Without a name all are made.
"""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.text import Text
from torch import Tensor

from train.inference import upscale
from train.resample import downscale
from vidsr.compare.page import build, write
from vidsr.compare.picture import View
from vidsr.compare.preview import preview
from vidsr.compare.sheet import sheet
from vidsr.models.registry import available_models, load

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
CLIP = ROOT / "samples" / "sintel.mp4"
MOMENT = Fraction(5, 4)  # seconds
DETAIL = (548, 306, 704, 436)  # left, top, right, bottom in the upscaled picture
SCALE, COLUMNS = 4, 4
STILL = (130, 60, 210, 124)  # in a frame of the clip
SEEN = (125, 68, 189, 118)  # what the models see of the clip itself, and of what they make of it
FILM = (88, 68, 168, 132)
ZOOM, GAP, LABEL = 3, 8, 26
MODEL = "fast-video"
FLAGS = ("headless", "no-sandbox", "disable-gpu", "window-size=1100,760")
TERMINAL = (80, 7)  # columns and lines
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>A terminal in which vidsr upscale runs</title>
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""  # as rich's own, without the font that it would load from the network


def before_after() -> None:
    """Bicubic beside the shipped weights: one crop, three times as large."""
    left, right = (Image.fromarray(picture.pixels).crop(DETAIL) for picture in _views([MOMENT])[0].pictures[:2])
    width, height = left.width * ZOOM, left.height * ZOOM
    canvas = Image.new("RGB", (2 * width + GAP, height + LABEL), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for x, crop, label in ((0, left, "bicubic, x4"), (width + GAP, right, f"vidsr, {MODEL} x4")):
        canvas.paste(crop.resize((width, height), Image.Resampling.NEAREST), (x, LABEL))
        draw.text((x + 2, 2), label, "black", font)
    PICTURES.mkdir(exist_ok=True)
    canvas.save(PICTURES / "before-after.png", optimize=True)


def compare_sheet() -> None:
    """What ``vidsr compare`` writes for one moment."""
    _save(sheet(_views([MOMENT])[0]), "sheet")


def page() -> None:
    """The page of ``vidsr compare --html``, in a browser."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as folder:
        for flag in (*FLAGS, f"user-data-dir={folder}/profile"):
            options.add_argument(f"--{flag}")
        path = write(Path(folder) / "page.html", build(CLIP.name, _views([])))
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        browser.get(path.as_uri())
        browser.get_screenshot_as_file(f"{folder}/page.png")
        browser.quit()
        _save(Image.open(f"{folder}/page.png").convert("RGB"), "page")


def progress() -> None:
    """A terminal while ``vidsr upscale`` runs, recorded through tmux."""
    columns, lines = TERMINAL
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(CLIP, folder)
        vidsr = shlex.quote(str(Path(sys.executable).with_name("vidsr")))
        shell = f"cd {folder}; clear; echo '$ vidsr upscale {CLIP.name}'; {vidsr} upscale {CLIP.name}"
        tmux = ["tmux", "-L", f"vidsr-{Path(folder).name}"]
        size = ["-x", str(columns), "-y", str(lines)]
        subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", *size, shell], check=True)
        try:
            screen = _wait_for(tmux, " left, limited by")
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen.rstrip()))
    console.save_svg(str(PICTURES / "progress.svg"), title="vidsr upscale", code_format=SVG)


def models() -> None:
    """One crop by every model for x4, three times as large: of a reduced picture, beside its original, and of film.

    Above, a frame of the clip is the original, and what the models enlarge is the frame reduced; below they enlarge
    the clip itself, compressed as it is.
    """
    with av.open(str(CLIP)) as container:
        frame = next(frame for frame in container.decode(video=0) if frame.time >= MOMENT)
    film = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float()
    names = [info.name for info in available_models() if info.scale == SCALE]
    modules = {name: load(name, SCALE).module for name in names}
    reduced = downscale(film / 255, SCALE) * 255
    above = [(name, _crop(upscale(module, reduced), STILL)) for name, module in modules.items()]
    left, top, right, bottom = SEEN
    seen = film[:, top:bottom, left:right]
    below = [(f"film, {name}", _crop(upscale(module, seen), FILM)) for name, module in modules.items()]
    cells = [*above, ("original", _crop(film, STILL)), *below]
    rows = -(-len(cells) // COLUMNS)
    width, height = (ZOOM * side for side in cells[0][1].size)
    canvas = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, rows * (height + LABEL)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for number, (label, crop) in enumerate(cells):
        x, y = number % COLUMNS * (width + GAP), number // COLUMNS * (height + LABEL)
        draw.text((x + 2, y + 2), label, "black", font)
        canvas.paste(crop.resize((width, height), Image.Resampling.NEAREST), (x, y + LABEL))
    _save(canvas, "models")


def _crop(picture: Tensor, box: tuple[int, int, int, int]) -> Image.Image:
    """`box` (left, top, right, bottom) of (3, H, W) code values."""
    return Image.fromarray(picture.permute(1, 2, 0).clamp(0, 255).round().byte().numpy()).crop(box)


def _wait_for(tmux: Sequence[str], words: str) -> str:
    """The screen with its colours, half a job after `words` stand on it."""
    for _ in range(600):
        time.sleep(0.2)
        capture = [*tmux, "capture-pane", "-e", "-p"]
        screen = subprocess.run(capture, check=True, capture_output=True, text=True).stdout
        if words in screen and any(f" {number}/96 frames" in screen for number in range(40, 60)):
            return screen
    raise TimeoutError(f"the terminal never showed {words!r}")


def _views(times: Sequence[Fraction]) -> list[View]:
    return preview(CLIP, [MODEL], 4, times)


def _save(image: Image.Image, name: str) -> None:
    """As a JPEG: a tenth of a PNG's bytes, and sharp enough for a document."""
    PICTURES.mkdir(exist_ok=True)
    image.save(PICTURES / f"{name}.jpg", quality=88, optimize=True)


MAKERS = {"before-after": before_after, "sheet": compare_sheet, "page": page, "progress": progress, "models": models}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or MAKERS:
        MAKERS[wanted]()
