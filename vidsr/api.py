"""One video from Python, by the same path as the command line."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Unpack

from vidsr.arguments import checked_name, checked_one
from vidsr.errors import UsageError
from vidsr.jobs.batch import Batch, unheard
from vidsr.jobs.events import Done, Event, Skipped
from vidsr.jobs.inputs import Input, check_name, target
from vidsr.jobs.options import OptionKeywords, Options
from vidsr.jobs.preview import Preview
from vidsr.jobs.run import run_one

KEYWORDS = ("overwrite", "resume", "on_event", "preview", *OptionKeywords.__annotations__)


def upscale_video(
    source: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
    on_event: Callable[[Event], None] = unheard,
    preview: str | PathLike[str] | None = None,
    **options: Unpack[OptionKeywords],
) -> Done | Skipped:
    """Upscale one video or image file; `options` are the fields of `vidsr.jobs.options.Options`.

    Without `output` the result is written beside the source, as ``clip_x4.mp4``. `on_event` is called with each event
    of `vidsr.jobs.events`, in the calling thread; `preview` names a PNG that shows the newest picture meanwhile.
    Returns `Skipped` where that very output exists already.

    Raises:
        UsageError: an impossible value or one of another type, or a keyword that does not exist; the nearest is named.
        VidsrError: one sentence that says what failed. Finished parts are kept, and the same call goes on after them
            (`resume`); nothing else is left behind.
    """
    if wrong := UsageError.of_keywords("upscale_video", options, KEYWORDS):
        raise wrong
    for name, value in (("overwrite", overwrite), ("resume", resume)):
        checked_one(name, value, bool)
    if not callable(on_event):
        raise UsageError(f"on_event must be a function that takes an event, not {on_event!r}")
    wanted, name = Options.of(options), checked_name("source", source)
    path = Path(name)
    check_name(name, path)
    item = Input(path, path.parent, named=True)
    place = target(None if output is None else checked_name("output", output), (), [item])
    shown = None if preview is None else Preview(Path(checked_name("preview", preview)), overwrite=overwrite)
    with Batch([item], place, wanted, overwrite=overwrite, resume=resume, on_event=on_event, preview=shown) as batch:
        event = run_one(item, batch)
    assert event is not None  # only folders hide outputs
    return event
