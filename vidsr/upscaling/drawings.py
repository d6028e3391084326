"""Which frames a frame is blended with: the pictures before and behind its own, in motion.

Film may hold each picture for two frames and more, as drawings (12 in 24) or films do on a screen (24 in 60). What is
held is told by how little changes, on the small frames, so that nothing is made for neighbours' sake that is none.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vidsr.frame import Frame
from vidsr.neighbours import same_shot, windows
from vidsr.upscaling.agreement import brightness
from vidsr.upscaling.motion import Floats

REACH = 3  # frames on either side that are looked at
HELD = 0.15  # of the largest change from a frame to the next around: less shows the same picture

Made = tuple[Frame, Frame]  # a small frame and what became of it


@dataclass(frozen=True)
class Chosen:
    """A frame to be made: its number, those of its neighbours, and how often it is one itself."""

    frame: Frame
    number: int
    others: Sequence[int]
    num_uses: int


@dataclass(frozen=True, eq=False)
class _Seen:
    """`change` is by how much it differs from the one before, see `_change`; None: that is of another shot."""

    frame: Frame
    number: int
    change: float | None


def chosen(frames: Iterable[Frame]) -> Iterator[Chosen]:
    """Frames with their neighbours; of those that are aside only what is one. Each comes up to 2 * `REACH` late."""
    held, uses = deque[tuple[_Seen, Sequence[int]]](), Counter[int]()
    for window in windows(_seen(frames), REACH, lambda _before, one: one.change is not None):
        own = window[REACH]
        others = () if own.frame.aside else [one.number for one in _neighbours(window)]
        uses.update(others)
        held.append((own, others))
        if len(held) > REACH:
            yield from _first(held, uses)
    while held:
        yield from _first(held, uses)


def _first(held: deque[tuple[_Seen, Sequence[int]]], uses: Counter[int]) -> Iterator[Chosen]:
    seen, others = held.popleft()
    num_uses = uses.pop(seen.number, 0)
    if num_uses or not seen.frame.aside:
        yield Chosen(seen.frame, seen.number, others, num_uses)


def _seen(frames: Iterable[Frame]) -> Iterator[_Seen]:
    before: Frame | None = None
    last: Floats | None = None
    for number, frame in enumerate(frames):
        picture = brightness(frame)
        linked = before is not None and same_shot(before, frame)
        yield _Seen(frame, number, _change(last, picture) if linked and last is not None else None)
        before, last = frame, picture


def _change(before: Floats, picture: Floats) -> float:
    """Light is no motion: less what all of it has become brighter by, and as a share of what contrast there is."""
    apart = picture - before
    contrast = (float(before.std()) + float(picture.std())) / 2
    return float(np.abs(apart - apart.mean()).mean()) / max(contrast, 1)


def _neighbours(window: Sequence[_Seen]) -> list[_Seen]:
    """The nearest frames of another picture on both sides; where one has none near enough, what shows the same picture.

    Near enough is what all frames of a held picture see alike: one that is held longer stands as it is.
    """
    sides = [_side(window[: REACH + 1][::-1]), _side(window[REACH:])]
    most = max((change for side in sides for _, change in side), default=0)
    if not most:
        return []
    moved = [[one for one, change in side if change >= HELD * most] for side in sides]
    if all(moved) and moved[1][0].number - moved[0][0].number <= REACH + 1:
        return [first for first, *_ in moved]
    near = [side[0] for side in sides if side]
    same = [one for one, change in near if change < HELD * most]
    return same or [one for one, _ in near]


def _side(away: Sequence[_Seen]) -> list[tuple[_Seen, float]]:
    """Frames of one shot from the first on, without it, and how much changes to each of them from the nearer one."""
    found = []
    for near, far in pairwise(away):
        if far is near:
            break
        change = max(near, far, key=lambda one: one.number).change
        assert change is not None
        found.append((far, change))
    return found


def gathered(made: Iterable[tuple[Chosen, Frame]]) -> Iterator[tuple[Made, list[Made]]]:
    """Of each frame that is not aside what became of it and of its neighbours, in order, once they are all there."""
    there, waiting = dict[int, Made](), deque[Chosen]()
    uses = Counter[int]()
    for one, large in made:
        there[one.number] = one.frame, large
        uses[one.number] = one.num_uses
        if not one.frame.aside:
            uses[one.number] += 1
            waiting.append(one)
        while waiting and all(number in there for number in waiting[0].others):
            numbers = waiting[0].number, *waiting.popleft().others
            own, *others = (there[number] for number in numbers)
            uses.subtract(numbers)
            for number in numbers:
                if not uses[number]:
                    del there[number], uses[number]
            yield own, others
