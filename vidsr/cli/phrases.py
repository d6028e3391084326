"""What is said of a running job: words and numbers, no terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from vidsr.cli.output import span
from vidsr.jobs.events import Advanced, Failed, PartsKept
from vidsr.words import counted, num_bytes


def kept(event: PartsKept) -> str:
    """What is kept, what is lost, and how to go on."""
    if event.num_segments:
        parts = "part is" if event.num_segments == 1 else "parts are"
        safe = f"{event.num_segments} finished {parts} kept in {event.folder}"
    elif event.num_frames:
        safe = (
            f"{counted(event.num_frames, 'frame')} {'stands' if event.num_frames == 1 else 'stand'} in {event.folder}"
        )
    else:
        safe = "nothing is kept"
    lost = f", {span(event.seconds_lost)} of work are lost" if event.seconds_lost >= 0.05 else ""
    return f"{safe}{lost}; {event.advice}"


def with_source(event: Failed) -> str:
    """The error, with the name of its file."""
    name = str(event.source)
    named = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", event.error)  # a file called "a" is in no word
    return event.error if named else f"{name}: {event.error}"


def state(event: Advanced, *, others: str = "", width: int = 1000) -> str:
    """How far a job is, in at most `width` columns: what is said last is left out first."""
    progress, left = event.progress, seconds_left(event)
    frames = f"{progress.num_frames}/{event.num_frames}" if event.num_frames else f"{progress.num_frames}"
    parts = [
        f"{frames} {'frame' if frames == '1' else 'frames'}",
        f"{progress.fps:.2f} fps",
        f"{span(left)} left" if left is not None else "",
        others,
        f"limited by {progress.limit}",
        gpu_memory(),
    ]
    text = parts[0]
    for part in filter(None, parts[1:]):
        if len(text) + 2 + len(part) > width:
            break
        text += f", {part}"
    return text


def starting(stage: str) -> str:
    """What stands beside the bar of a job that has made no frame."""
    return f"starting: {stage}" if stage else "starting"


def timeline(seconds: Mapping[str, float]) -> str:
    """Of all stages, in the order in which they began."""
    parts = ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items())
    return f"timeline: {parts}; {sum(seconds.values()):.2f} s in all"


def shares(busy: Mapping[str, float]) -> str:
    """Of all stages."""
    return "busy: " + ", ".join(f"{stage} {share:.0%}" for stage, share in busy.items())


def gpu_memory() -> str:
    """Memory in use on the GPU, where this process uses one; nothing is loaded, and no other GPU asked, to find out."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ""
    used = next((index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)), None)
    if used is None:
        return ""
    free, total = torch.cuda.mem_get_info(used)
    return f"GPU memory {num_bytes(total - free)} of {num_bytes(total)}"


def seconds_left(event: Advanced) -> float | None:
    """Of one job, by its rate of the last ten seconds."""
    if not event.num_frames or event.progress.fps <= 0:
        return None
    return max(event.num_frames - event.progress.num_frames, 0) / event.progress.fps
