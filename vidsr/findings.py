"""What was found out of a GPU, kept in the user's cache: what does what torch does, and what is fastest.

A finding stands in a JSON file with all that it depends on: GPU, versions, the kernels' code. Where any of that has
changed, or the file is damaged, it is found out again and written in its place. A folder that cannot be written makes
nothing fail: then it is found out again the next time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vidsr import __version__, files

if TYPE_CHECKING:
    import torch

Facts = Mapping[str, object]
_STEPS = (
    "block", "blocks", "colour_kernel", "lanes", "motion", "motion_device", "steady", "steady_device", "steady_kernel",
    "step", "taps", "taps_device",
)  # fmt: skip


def why_not_trusted(name: str, facts: Facts, agree: Callable[[], str | None]) -> str | None:
    """Why kernels are not used, in a few words; None where they do what torch does.

    `agree` says so, unless it is known of these `facts`. What it raises counts as an answer, but for want of memory or
    of a place on the disk, which may be there the next time.

    Raises:
        torch.OutOfMemoryError: there is no room to try it.
    """
    import torch

    if isinstance(known := recall(name, facts), str):
        return known or None
    try:
        why = agree() or ""
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of Triton, its compilers or the driver, and they have exceptions of all kinds
        why = f"it fails here: {next(iter(str(error).splitlines()), type(error).__name__)}"
        if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
            return why
    remember(name, facts, why)
    return why or None


def machine(device: torch.device) -> dict[str, object]:
    """All that every finding of `device` depends on."""
    import torch

    gpu = device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name(device) if gpu else device.type,
        "capability": list(torch.cuda.get_device_capability(device)) if gpu else [],
        "torch": torch.__version__,
        "triton": _triton(),
        "vidsr": __version__,
        "code": _code(),
    }


def recall(name: str, facts: Facts) -> object:
    """What `remember` was told under this name, of equal facts; None where nothing is known."""
    try:
        found = json.loads(_file(name, facts).read_text(encoding="utf-8"))
        return found["found"] if found["of"] == _plain(facts) else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # the last: a user without a home
        return None


def remember(name: str, facts: Facts, found: object) -> None:
    """Keep `found`, as JSON can hold it, in the place of what was known of other versions."""
    with suppress(OSError, RuntimeError):
        file = _file(name, facts)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"of": facts, "found": found}, indent=1)
        files.write(file, text, shared=True)


def folder() -> Path:
    """Where findings are: beside the engines, in the user's cache directory."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("vidsr", appauthor=False)) / "kernels"


def _file(name: str, facts: Facts) -> Path:
    return folder() / (re.sub(r"[^A-Za-z0-9.]+", "-", f"{name} {facts.get('gpu', '')}").strip("-") + ".json")


def _plain(facts: Facts) -> object:
    return cast(object, json.loads(json.dumps(facts)))


@cache
def _triton() -> str:
    try:
        return version("triton")
    except PackageNotFoundError:
        return ""


@cache
def _code() -> str:
    """Of all kernels: between releases they change, too."""
    here = Path(__file__).parent
    steps = (here / "upscaling" / f"{name}.py" for name in _STEPS)
    sources = [*sorted((here / "backends" / "torch" / "kernels").glob("*.py")), *steps]
    with suppress(OSError):
        return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    return ""
