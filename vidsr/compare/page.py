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

from vidsr.compare.measure import NAMES, written
from vidsr.compare.picture import Pixels, View, busiest
from vidsr.errors import OutputError
from vidsr.files import write as write_file

MARK = "/*DATA*/null"  # stands in the template where the page's data go
LARGEST = 3840, 2160  # of a picture in the page; of larger ones it holds the part with the most detail


def build(title: str, views: Sequence[View], *, table: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """The page as HTML.

    Args:
        title: the name of what is compared; anything, it is escaped.
        views: the moments; pictures are kept without loss, larger ones than `LARGEST` in part.
        table: means by label, shown below the pictures.
    """
    data = {
        "title": title,
        "views": [_view(view) for view in views],
        "table": {label: _written(values) for label, values in (table or {}).items()},
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
    pictures = [
        {
            "label": p.label,
            "note": p.note,
            "src": _data_uri(p.pixels[top:bottom, left:right]),
            "figures": _written(view.figures.get(p.label, {})),
        }
        for p in view.pictures
    ]
    return {"title": view.title, "part": part, "width": width, "height": height, "pictures": pictures}


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
