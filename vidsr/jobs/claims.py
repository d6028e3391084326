"""Which file of a batch is written for which source, and the marks by which vidsr knows its own outputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from vidsr.errors import OutputError
from vidsr.files import key
from vidsr.jobs.inputs import Input
from vidsr.media.mux.fingerprint import read_fingerprint
from vidsr.media.stills import WITHOUT_METADATA, is_image, open_image, read_mark

SOFTWARE = 0x0131  # the EXIF tag that carries an image's fingerprint: the program that made it, and from what


class Claims:
    """Which file of a batch is written for which source; no source is ever written."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._sources = {key(item.path): item for item in inputs}
        self._taken: dict[str, Path] = {}

    def is_own_output(self, item: Input) -> bool:
        """Whether `item` is an output of vidsr that a folder or a glob, our own or the shell's, swept up."""
        return (not item.named or len(self._sources) > 1) and _is_marked(item.path)

    def take(self, output: Path, source: Path) -> None:
        """Note that `source` writes `output`.

        Raises:
            OutputError: another source of this batch has claimed it, or is it; or it is a folder.
        """
        if output.is_dir():
            raise OutputError(f"{output}: this is a folder; choose another name for the output")
        place = key(output)
        if (item := self._sources.get(place)) is not None and not self.is_own_output(item):
            raise OutputError(f"{source}: its output {output} is itself a source; choose another place for it")
        other = self._taken.setdefault(place, source)
        if other != source:
            raise OutputError(f"{source}: its output {output} is that of {other}, too; rename one, or use two folders")


def _is_marked(path: Path) -> bool:
    return image_mark(path) is not None if is_image(path) else read_fingerprint(path) is not None


def image_mark(path: Path) -> str | None:
    """The mark in an image's EXIF, or where its format has none; None where there is none, or no image."""
    try:
        if path.suffix.lower() in WITHOUT_METADATA:
            text = read_mark(path)
        else:
            with warnings.catch_warnings(action="ignore"), open_image(path) as image:
                text = str(image.getexif().get(SOFTWARE, ""))
    except (OSError, ValueError, SyntaxError):
        return None
    return text if text.startswith("vidsr ") else None
