"""Pairs baked by processes of their own beside the training, until it needs them."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path

from train import bake
from train.cache import Cache, join, num_shards, open_cache
from train.lease.plan import Baking
from vidsr.errors import MediaError

log = logging.getLogger("train")


class Bakery:
    """Bakes `baking` from `photos` into folders below `work` as soon as it is made; `close` ends it at once.

    The processes end with this one, however it ends. What is there of an earlier lease is continued.
    """

    def __init__(self, baking: Baking, photos: Sequence[Path], work: Path, photo_cache: Path) -> None:
        self.baking = baking
        count = baking.processes or max(1, (os.cpu_count() or 1) - 1)
        self.folders = [work / f"pairs-{number}" for number in range(count)]
        context = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess] = []
        for number, folder in enumerate(self.folders):
            plan = bake.BakePlan(**{**vars(baking.plan), "seed": baking.plan.seed + number})
            process = context.Process(target=_bake, args=(plan, list(photos), folder, photo_cache), daemon=True)
            process.start()
            self._processes.append(process)

    @property
    def pairs(self) -> int:
        """How many there are."""
        plan = self.baking.plan
        return sum(map(num_shards, self.folders)) * plan.scenes * plan.variants

    def take(self, deadline: float) -> Cache:
        """End the baking and read what there is; waits for the least number of pairs until `deadline` (monotonic).

        Raises:
            MediaError: there are none.
        """
        began = time.monotonic()
        while self.pairs < self.baking.least and time.monotonic() < deadline and self._alive():
            time.sleep(0.2)
        self.close()
        found = [open_cache(folder) for folder in self.folders if num_shards(folder)]
        if not found:
            raise MediaError("No pair was baked in time; give the phases before more time, or bake ahead.")
        cache = join(found)
        log.info("%d baked pairs, after a wait of %.1f s", len(cache), time.monotonic() - began)
        return cache

    def _alive(self) -> bool:
        return any(process.is_alive() for process in self._processes)

    def close(self) -> None:
        """End the processes; whole shards stay."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()


def _bake(plan: bake.BakePlan, photos: Sequence[Path], folder: Path, photo_cache: Path) -> None:
    """In a process of its own, on one thread and behind the training."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(5)
    bake.bake(plan, photos, folder, photo_cache, bake.Limits())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
