"""What was asked for and changes nothing of what is made, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vidsr.jobs.inputs import Input
from vidsr.jobs.options import Options
from vidsr.media.stills import is_image

ENCODER = ("codec", "crf", "preset", "pix_fmt", "container", "segment_seconds")
FILM = (
    *ENCODER,
    *("target_size", "start", "end", "deinterlace", "steady", "square_pixels"),
    *("fps", "keep_going", "decoder", "reuse"),
)


def idle(options: Options, names: Iterable[str], why: str, *others: str) -> tuple[str, ...]:
    """Said of those options of `names` that somebody chose, and of `others`."""
    usual = Options()
    asked = [_named(name) for name in (*(n for n in names if getattr(options, n) != getattr(usual, n)), *others)]
    return (f"{', '.join(asked)}: of no effect, since {why}",) if asked else ()


def of_batch(inputs: Sequence[Input], options: Options, *others: str) -> tuple[str, ...]:
    """Said once of sources that are all images, which have no use for what is of films, as `others` are."""
    said = idle(options, FILM, "images are no film", *others)
    return said if said and all(item.kind == "file" and is_image(item.path) for item in inputs) else ()


def _named(name: str) -> str:
    """As the command line and as Python call it."""
    return f"--{'no-' if name == 'reuse' else ''}{name.replace('_', '-')} ({name})"
