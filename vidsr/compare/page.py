"""The comparison page: one HTML file that works from disk, with everything inside it and no request to anywhere."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from vidsr.compare.measure import NAMES, UNSTEADY, written
from vidsr.compare.picture import Pixels, View, busiest
from vidsr.compare.steadiness import with_unsteadiness
from vidsr.errors import OutputError
from vidsr.files import write as write_file

MARK = "/*DATA*/null"  # stands in the template where the page's data go
LARGEST = 3840, 2160  # of a picture in the page; of larger ones it holds the part with the most detail
LOOPED = 1280, 720  # of the part of it that the frame beside is kept of, too
HINTS = {
    UNSTEADY: "By how many code values of 255 a pixel changes from one frame to the next along the motion, more than "
    "the source does there: the mean, where the motion is certain, over the moments. Lower is steadier."
}


def build(title: str, views: Sequence[View], *, table: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """The page as HTML.

    Args:
        title: the name of what is compared; anything, it is escaped.
        views: the moments; pictures are kept without loss, larger ones than `LARGEST` in part.
        table: means by label, shown below the pictures, and beside them how unsteady each is.
    """
    data = {
        "title": title,
        "views": [_view(view) for view in views],
        "mean": "mean of all frames" if table else "mean of the moments",
        "table": {label: _written(values) for label, values in with_unsteadiness(table or {}, views).items()},
        "hints": HINTS,
    }
    template = files("vidsr.compare").joinpath("page.html").read_text(encoding="utf-8")
    before, after = template.split(MARK)
    return before + _script_safe(data) + after


def write(path: Path, html: str) -> Path:
    """Write the page.

    Raises:
        OutputError: the folder cannot be written, or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, html, shared=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another -o.") from error
    return path


def _view(view: View) -> dict[str, object]:
    left, top, right, bottom = busiest(view.pictures[0].pixels, *LARGEST)
    width, height = right - left, bottom - top
    part = "" if (width, height) == view.size else f"{width}x{height} of {view.size[0]}x{view.size[1]} at {left},{top}"
    looped = busiest(view.pictures[0].pixels[top:bottom, left:right], *LOOPED)
    x, y, x_end, y_end = (at + start for at, start in zip(looped, (left, top) * 2, strict=True))
    pictures = [
        {
            "label": p.label,
            "note": p.note,
            "src": _data_uri(p.pixels[top:bottom, left:right]),
            "beside": None if p.beside is None else _data_uri(p.beside[y:y_end, x:x_end]),
            "figures": _written(view.figures.get(p.label, {})),
        }
        for p in view.pictures
    ]
    loop = dict(zip(("left", "top", "right", "bottom"), looped, strict=True)) if pictures[0]["beside"] else None
    head = {"title": view.title, "part": part, "width": width, "height": height}
    return head | {"loop": loop, "pictures": pictures}


def _written(values: Mapping[str, float]) -> dict[str, str]:
    """Names and values as people read them."""
    return {NAMES.get(name, name): written(name, value) for name, value in values.items()}


def _data_uri(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", lossless=True, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _script_safe(data: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
