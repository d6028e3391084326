"""What the shell offers behind an option; nothing here loads a network library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vidsr.backends import LISTED, PRECISIONS, UNITS
from vidsr.media.containers import CONTAINERS


def model(incomplete: str) -> list[str]:
    """Names of the shipped models; none where a file is being named."""
    return _begin(("auto", *_models()), incomplete)


def models(incomplete: str) -> list[str]:
    """The same behind the last comma of a list."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in _begin(_models(), last)]


def engine_model(incomplete: str) -> list[str]:
    """What `vidsr engine build --model` takes."""
    return _begin(("auto", "all", *_models()), incomplete)


def backend(incomplete: str) -> list[tuple[str, str]]:
    """What --backend takes, and where each is to be preferred."""
    offered = [("auto", "the first of these that is here"), *((row.name, row.why) for row in LISTED)]
    return [(name, why) for name, why in offered if name.startswith(incomplete)]


def precision(incomplete: str) -> list[str]:
    """What --precision takes."""
    return _begin(PRECISIONS, incomplete)


def device(incomplete: str) -> list[str]:
    """What --device takes, besides the number of a GPU."""
    return _begin(UNITS, incomplete)


def codec(incomplete: str) -> list[str]:
    """What --codec takes: codecs by their usual names, then the encoders of NVIDIA GPUs."""
    from vidsr.media.encoders import OFFERED

    return _begin(("auto", *(row.spoken[0] for row in OFFERED)), incomplete)


def container(incomplete: str) -> list[str]:
    """What --container takes."""
    return _begin(CONTAINERS, incomplete)


def size(incomplete: str) -> list[str]:
    """Usual values of --size."""
    return _begin(("720p", "1080p", "1440p", "2160p"), incomplete)


def gpu(incomplete: str) -> list[str]:
    """Recipes of engines."""
    from vidsr.backends.tensorrt import recipes

    return _begin(recipes.recipes(), incomplete)


def listed(words: Sequence[str]) -> str:
    """``a, b or c``."""
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _models() -> list[str]:
    from vidsr.models.registry import available_models

    return list(dict.fromkeys(info.name for info in available_models()))


def _begin(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
