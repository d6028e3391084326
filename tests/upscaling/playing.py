"""Streams and events of a GPU, played on the CPU in orders that a GPU might take.

Each stream goes on whenever nothing that it waits for is missing.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import torch


class Event:
    """Marks a place in a lane; `synchronize` lets the GPU go on until it has come there."""

    def __init__(self, lanes: PlayedLanes) -> None:
        self.lanes, self.marked, self.reached = lanes, 0, 0

    def synchronize(self) -> None:
        target = self.marked
        self.lanes.play(lambda: self.reached >= target)


class Lane:
    def __init__(self) -> None:
        self.queue: deque[tuple[str, Any]] = deque()

    def run(self, work: Callable[[], object]) -> None:
        self.queue.append(("run", work))

    def wait(self, event: Event) -> None:
        self.queue.append(("wait", (event, event.marked)))

    def mark(self, event: Event) -> None:
        event.marked += 1
        self.queue.append(("mark", (event, event.marked)))

    def go_on(self) -> bool:
        """One thing, if nothing stands in the way."""
        if not self.queue:
            return False
        what, how = self.queue[0]
        if what == "wait" and how[0].reached < how[1]:
            return False
        self.queue.popleft()
        if what == "run":
            how()
        elif what == "mark":
            how[0].reached = how[1]
        return True


class Deaf(Lane):
    """A lane that waits for nothing."""

    def wait(self, event: Event) -> None:
        pass


class PlayedLanes:
    def __init__(self, seed: int = 0, lane: type[Lane] = Lane) -> None:
        self.device, self.pinned, self.random = torch.device("cpu"), False, random.Random(seed)
        self.up, self.compute, self.down = (lane() for _ in range(3))

    def event(self) -> Event:
        return Event(self)

    def play(self, until: Callable[[], bool]) -> None:
        for _ in range(self.random.randrange(6)):  # a GPU may be ahead of what the host asks for
            self.random.choice((self.up, self.compute, self.down)).go_on()
        while not until():
            lanes = self.random.sample((self.up, self.compute, self.down), 3)
            assert any(lane.go_on() for lane in lanes), "every lane waits for another"

    def finish(self) -> None:
        self.play(lambda: not (self.up.queue or self.compute.queue or self.down.queue))
