"""The networks of a batch: each is opened once and kept, here or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidsr.backends import find
from vidsr.jobs.options import Options
from vidsr.jobs.segment_maker import SegmentMaker
from vidsr.models import registry
from vidsr.stages import loading

if TYPE_CHECKING:
    from vidsr.jobs.cluster.workers import Cluster
    from vidsr.jobs.local_maker import LocalMaker
    from vidsr.upscaling.upscaler import Upscaler


class Networks:
    """What runs the models of a batch, each opened once and kept. Use as a context manager: leaving closes them.

    `ray` is an address for `Cluster`; without it models run in this process. Nothing is loaded before it is used.
    """

    def __init__(self, options: Options, ray: str | None = None) -> None:
        self._options, self._ray = options, ray
        self._open: dict[tuple[int, str], SegmentMaker] = {}  # by native scale and model
        self._here: dict[tuple[int, str], LocalMaker] = {}  # those of `_open` that are in this process
        self._cluster: Cluster | None = None

    def __enter__(self) -> Networks:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.reset()
        finally:
            if self._cluster is not None:
                self._cluster.close()

    def reset(self) -> None:
        """Close all: after a failed job, whose upscaler was cancelled; the next job opens its own."""
        self._here.clear()
        while self._open:
            self._open.popitem()[1].close()

    def get(self, scale: float, model: str | None = None) -> SegmentMaker:
        """What serves `scale` (above 0, up to 4): the smallest native scale that reaches it.

        `model` replaces that of the options; on a cluster there is none but theirs.
        """
        key = native(scale), model or self._options.model
        if key not in self._open:
            self._open[key] = self._local(*key) if self._ray is None else self._there(key[0], self._ray)
        return self._open[key]

    def upscaler(self, scale: float, model: str | None = None) -> Upscaler:
        """As `get`, where frames go in and come out one by one: in this process, never on a cluster."""
        key = native(scale), model or self._options.model
        if key not in self._here:
            self._open[key] = self._local(*key)
        return self._here[key].upscaler

    def _local(self, scale: int, model: str) -> LocalMaker:
        check_network(self._options, scale)
        with loading():
            from vidsr.jobs.local_maker import LocalMaker, open_upscaler

        made = self._here[scale, model] = LocalMaker(open_upscaler(self._options, scale, model=model))
        return made

    def _there(self, scale: int, address: str) -> SegmentMaker:
        from vidsr.jobs.cluster.dispatch import ClusterMaker
        from vidsr.jobs.cluster.workers import Cluster

        self._cluster = self._cluster or Cluster(address, self._options)
        return ClusterMaker(self._cluster, scale)


def check_network(options: Options, scale: int) -> None:
    """Find what does not exist before anything is loaded that runs it.

    Raises:
        ModelError: no such model, or it does not reach `scale`.
        UsageError: no such backend.
    """
    if options.model != "auto":
        registry.native_scale(options.model, scale)
    if options.backend != "auto":
        find(options.backend)


def native(scale: float) -> int:
    """The smallest native scale of vidsr's own models that reaches `scale`."""
    return 2 if scale <= 2 else 4
