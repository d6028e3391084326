"""The networks of a batch: each is opened once and kept, here or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidsr.jobs.options import Options
from vidsr.jobs.runner import Runner
from vidsr.upscaling.upscaler import Upscaler

if TYPE_CHECKING:
    from vidsr.jobs.cluster.workers import Cluster


class Networks:
    """What runs the models of a batch, each opened once and kept. Use as a context manager: leaving closes them.

    `ray` is an address for `Cluster`; without it models run in this process.
    """

    def __init__(self, options: Options, ray: str | None = None) -> None:
        self._options, self._ray = options, ray
        self._open: dict[int, Runner] = {}
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
        while self._open:
            self._open.popitem()[1].close()

    def get(self, scale: float) -> Runner:
        """What serves `scale` (above 0, up to 4): the smallest native scale that reaches it."""
        native = 2 if scale <= 2 else 4
        if native not in self._open:
            self._open[native] = self._here(native) if self._ray is None else self._there(native, self._ray)
        return self._open[native]

    def _here(self, native: int) -> Upscaler:
        options = self._options
        return Upscaler(
            options.model,
            scale=native,
            backend=options.backend,
            precision=options.precision,
            tile=options.tile,
            device=options.device,
            threads=options.threads,
            reuse=options.reuse,
        )

    def _there(self, native: int, address: str) -> Runner:
        from vidsr.jobs.cluster.dispatch import ClusterRunner
        from vidsr.jobs.cluster.workers import Cluster

        self._cluster = self._cluster or Cluster(address, self._options)
        return ClusterRunner(self._cluster, native)
