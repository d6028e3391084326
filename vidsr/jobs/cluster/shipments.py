"""The missing segments of a job, made ready to travel to other processes."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator

from vidsr.jobs.plan import Plan
from vidsr.jobs.segments import Grid
from vidsr.jobs.sources import deinterlacing, source_notes
from vidsr.media.read.packets import BEFORE, BEHIND, Irregular, Shipment, can_cut, cut
from vidsr.media.read.pictures import pack_pictures


class Shipments:
    """Iterates over the segments of `plan` that are not `done`, in order: as packets where that is sure to be right.

    Each comes with `reach` neighbours on either side. Sources that have to be deinterlaced, or that may be damaged, are
    decoded here and travel as pictures; so does all that comes after a place where packets alone are not enough.
    `notes` are complete once all is read.

    Raises:
        MediaError: the source cannot be read, or is damaged; from the iteration.
    """

    def __init__(self, plan: Plan, grid: Grid, done: Collection[int], first: int, reach: int) -> None:
        self._plan, self._done, self._first, self._reach = plan, frozenset(done), first, reach
        self._grid = grid
        self._mistrusted = threading.Event()
        self.notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Shipment]:
        first = self._first
        if self._packets_are_enough():
            try:
                for shipment in cut(self._plan.source, self._interval, self._done, reach=self._reach):
                    if self._mistrusted.is_set():
                        first = shipment.interval
                        break
                    yield shipment
                else:
                    return
            except Irregular as error:
                first = error.interval
        yield from self._pictures(first, self._done)

    def again(self, interval: int) -> Shipment | None:
        """One segment as pictures, after its packets did not give what was expected; None: there are none.

        The packets of those that follow are not trusted, either.
        """
        self._mistrusted.set()
        for shipment in self._pictures(interval, self._done - {interval}):
            return shipment if shipment.interval == interval else None
        return None

    def _packets_are_enough(self) -> bool:
        plan, video = self._plan, self._plan.source.video
        which = deinterlacing(plan.source, plan.options).which
        deinterlaced = which == "all" or (which == "flagged" and video.interlaced)
        return plan.pipe is None and can_cut(plan.source) and not deinterlaced and not plan.options.keep_going

    def _interval(self, pts: int) -> int:
        if self._grid.first_pts is not None and pts < self._grid.first_pts:
            return BEFORE
        if self._grid.stop_pts is not None and pts >= self._grid.stop_pts:
            return BEHIND
        return self._grid.of_pts(pts)

    def _pictures(self, first: int, done: Collection[int]) -> Iterator[Shipment]:
        with self._plan.open_reader(self._grid.begin(first) or None, reach=self._reach) as reader:
            yield from pack_pictures(reader, self._plan.source.video, self._grid.of, done, reach=self._reach)
        self.notes = source_notes(reader.report)
