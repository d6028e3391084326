"""Frames with those around them: what a result may depend on besides its own frame, and where that ends. A leaf.

A film's ends stand in for themselves, and nothing is seen across a cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vidsr.frame import Frame

T = TypeVar("T")

CELLS = 8  # along the longer side: squares whose means tell a cut
FADE = 0.95  # correlation of those means: more is one picture in another light
CUT, FLAT = 0.7, 2.0  # of the spread of the means of a frame, and codes of 8 bit at least, that they change by


def near(frames: Iterable[Frame], wanted: Callable[[Frame], bool], reach: int) -> Iterator[Frame]:
    """The frames that are wanted, and up to `reach` before and behind each of them as ones that are aside.

    Frames that are aside already never are wanted. All others are left out.
    """
    before: deque[Frame] = deque(maxlen=reach)
    behind = 0
    for frame in frames:
        if not frame.aside and wanted(frame):
            yield from before
            before.clear()
            behind = reach
            yield frame
        elif behind:
            behind -= 1
            yield _aside(frame)
        else:
            before.append(_aside(frame))


def _aside(frame: Frame) -> Frame:
    return frame if frame.aside else replace(frame, aside=True)


def windows(items: Iterable[T], reach: int, linked: Callable[[T, T], bool]) -> Iterator[Sequence[T]]:
    """Each item with `reach` before and behind it: 2 * reach + 1 of them, itself in the middle.

    Where there is none, or where two that follow each other are not `linked`, the last one before that stands in for
    those beyond. An item comes once `reach` more are there; as many before it are kept.
    """
    held: deque[T] = deque()
    links: deque[bool] = deque()  # of each held item to the one before it
    num_ahead = -1  # held behind the next item that goes out
    for item in items:
        links.append(bool(held) and linked(held[-1], item))
        held.append(item)
        num_ahead += 1
        if num_ahead == reach:
            yield _window(held, links, len(held) - 1 - reach, reach)
            num_ahead -= 1
            if len(held) > 2 * reach:
                held.popleft()
                links.popleft()
    for place in range(len(held) - 1 - num_ahead, len(held)):
        yield _window(held, links, place, reach)


def _window(held: Sequence[T], links: Sequence[bool], place: int, reach: int) -> list[T]:
    found, first, last = [held[place]], place, place
    for _ in range(reach):
        first -= links[first] and first > 0
        last += last + 1 < len(held) and links[last + 1]
        found = [held[first], *found, held[last]]
    return found


def same_shot(before: Frame, frame: Frame) -> bool:
    """Whether no cut lies between two frames that follow each other, by the means of large squares of each.

    A change of size or layout is a cut; one of light alone is not. What is called one loses nothing but its neighbours'
    help.
    """
    if (before.format, before.planes[0].shape) != (frame.format, frame.planes[0].shape):
        return False
    first, second = _means(before), _means(frame)
    change, spread = float(np.abs(first - second).mean()), float(first.std()) * float(second.std())
    alike = float(((first - first.mean()) * (second - second.mean())).mean())
    return change <= max(CUT * (float(first.std()) + float(second.std())) / 2, FLAT) or alike > FADE * spread > 0


def _means(frame: Frame) -> NDArray[np.float32]:
    """Of large squares of the first plane, in codes of 8 bit."""
    plane = frame.planes[0]
    return squares(plane, max(max(plane.shape) // CELLS, 1)) / np.float32(frame.format.unit)


def squares(plane: NDArray[np.generic], side: int) -> NDArray[np.float32]:
    """(H, W) -> the mean of each square of that side, or of a plane's own if that is shorter; the rest is left out."""
    tall, wide = (min(side, one) for one in plane.shape)
    rows, columns = plane.shape[0] // tall, plane.shape[1] // wide
    whole = plane[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide)
    found: NDArray[np.float32] = whole.mean((1, 3), dtype=np.float32)
    return found


def same_picture(before: Frame | None, frame: Frame | None) -> bool:
    """Whether two frames hold the same samples with the same meaning."""
    if before is None or frame is None or (before.format, before.colour) != (frame.format, frame.colour):
        return False
    return all(np.array_equal(a, b) for a, b in zip(before.planes, frame.planes, strict=True))
