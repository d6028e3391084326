"""Simulates films on a cluster whose machines are lost now and then, by the rules of `vidsr upscale --ray`.

    python docs/simulate_cluster.py [--films 1000] [--seed 1]

A driver runs one film after the other. Its workers take segments as they become free; a lost worker's segment is
noticed after a while and runs again; a new worker comes in its place. The next film begins when all segments of this
one have landed (it is joined beside). All numbers that are put in stand below; nothing is measured here.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random

from train.markdown import table

GPUS = 100
FILM_SECONDS = 100 * 60
SEGMENT_SECONDS = 10
SPEED = (0.5, 1.5)  # seconds of film that a GPU makes in a second: mixed GPUs, evenly spread
NOTICED_SECONDS = 30  # until a lost machine is missed
REPLACED_SECONDS = 600  # until another one is there and has loaded its engine
DRIVER_HOURS = 24 * 7  # between two losses of a driver
DRIVER_SECONDS = 300  # until it runs again
SOURCE_MEGABYTES = 1.0  # a second of film: 8 Mbit/s
PREROLL = 1.5  # packets that travel for each that is needed, with keyframes every five seconds
OUTPUT_MEGABYTES = 5.0  # a second of film: 40 Mbit/s


class Driver:
    """A driver with its workers. Times in seconds; `worked` and `lost` are sums over its GPUs."""

    def __init__(self, workers: int, loss_hours: float | None, dice: random.Random) -> None:
        self._dice, self._loss_seconds = dice, 3600 * loss_hours if loss_hours else math.inf
        self._speeds = [dice.uniform(*SPEED) for _ in range(workers)]
        self._dies = [self._next_loss(0, self._loss_seconds) for _ in range(workers)]
        self._ready = [(0.0, worker) for worker in range(workers)]
        self._driver_dies = self._next_loss(0, 3600 * DRIVER_HOURS if loss_hours else math.inf)
        self.wall = self.worked = self.lost = 0.0
        self.num_films = self.num_lost = self.most_often = 0

    def _next_loss(self, now: float, mean: float) -> float:
        return now + self._dice.expovariate(1 / mean) if mean < math.inf else math.inf

    def film(self) -> None:
        """Run one film."""
        segments = [(self.wall, 0)] * (FILM_SECONDS // SEGMENT_SECONDS)  # when to be had, how often lost
        heapq.heapify(self._ready)
        while segments:
            self._assign(segments)
        if self.wall > self._driver_dies:  # what has landed stays; what runs is lost
            self.wall += DRIVER_SECONDS + SEGMENT_SECONDS
            self._driver_dies = self._next_loss(self.wall, 3600 * DRIVER_HOURS)
        self._ready = [(max(now, self.wall), worker) for now, worker in self._ready]
        self.num_films += 1

    def _assign(self, segments: list[tuple[float, int]]) -> None:
        """Give the worker that is free first the segment that is there first."""
        now, worker = heapq.heappop(self._ready)
        there, losses = segments[0]
        begin, dies = max(now, there), self._dies[worker]
        finish = begin + SEGMENT_SECONDS / self._speeds[worker]
        if dies < finish:
            heapq.heappush(self._ready, (dies + REPLACED_SECONDS, worker))
            self._dies[worker] = self._next_loss(dies + REPLACED_SECONDS, self._loss_seconds)
        else:
            self.worked += finish - begin
            self.wall = max(self.wall, finish)
            heapq.heappush(self._ready, (finish, worker))
        if begin <= dies < finish:
            self.num_lost += 1
            self.lost += dies - begin
            self.most_often = max(self.most_often, losses + 1)
            heapq.heapreplace(segments, (dies + NOTICED_SECONDS, losses + 1))
        elif dies >= finish:
            heapq.heappop(segments)


def row(films: int, drivers: int, loss_hours: float | None, seed: int) -> list[str]:
    """A line of the table: drivers side by side, each of which takes the next film from one list."""
    dice = random.Random(seed)
    parts = [Driver(GPUS // drivers, loss_hours, dice) for _ in range(drivers)]
    for _ in range(films):
        min(parts, key=lambda part: part.wall).film()
    wall = max(part.wall for part in parts)
    worked, lost = sum(part.worked for part in parts), sum(part.lost for part in parts)
    film = max(part.num_films * FILM_SECONDS / part.wall for part in parts)  # seconds of film a second
    return [
        f"{drivers} x {GPUS // drivers}",
        f"{loss_hours:g} h" if loss_hours else "never",
        f"{wall / 3600:.1f} h",
        f"{worked / (wall * GPUS):.1%}",
        str(sum(part.num_lost for part in parts)),
        f"{lost / worked:.2%}",
        str(max(part.most_often for part in parts)),
        f"{film * SOURCE_MEGABYTES * PREROLL:.0f}",
        f"{film * OUTPUT_MEGABYTES:.0f}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    heads = (
        "drivers x GPUs", "a GPU is lost every", "all films take", "GPUs at work", "segments lost",
        "work done twice", "losses of one segment, at most", "a driver sends, MB/s", "receives, MB/s",
    )  # fmt: skip
    kinds = [(drivers, loss_hours) for drivers in (1, 5, 20) for loss_hours in (None, 24, 2)]
    print("\n".join(table(heads, [row(arguments.films, *kind, arguments.seed) for kind in kinds])))


if __name__ == "__main__":
    main()
