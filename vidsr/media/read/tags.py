"""What a file says of itself as a whole, also where FFmpeg takes another thing for it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from av.container import Container, InputContainer

from vidsr.media.read.matroska import head_of

_OF_A_STREAM = ("language", "encoder", "duration")


def tags(container: InputContainer, path: Path) -> dict[str, str]:
    """Those of the open file `path`, by FFmpeg's names."""
    said, own = dict(container.metadata) | comments(container), head_of(path).title
    if own is None:
        return said
    return {key: value for key, value in said.items() if key.lower() != "title"} | {"title": own}


def comments(container: Container) -> dict[str, str]:
    """The film's in Ogg, where only streams have any: of the first that does, pictures before sound."""
    if container.format.name != "ogg":
        return {}
    for stream in chain(container.streams.video, container.streams.audio):
        found = {key: value for key, value in stream.metadata.items() if key.lower() not in _OF_A_STREAM}
        if found:
            return found
    return {}
