"""The workers of a Ray cluster: one actor for each GPU, or for some CPU cores, that come and go with its machines."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from vidsr import __version__
from vidsr.backends import may_use_gpu
from vidsr.errors import BackendError, UsageError, VidsrError
from vidsr.jobs.cluster.worker import Hello, Weights, Worker
from vidsr.jobs.options import Options
from vidsr.models.names import is_path
from vidsr.stages import stage
from vidsr.words import first_line

LOCAL = "local"
MAX_FAILED_STARTS = 10  # in a row
START_SECONDS = 300  # without any worker
STUCK_SECONDS = 120  # for a process to come up and load torch; then another one is asked for
GROW_SECONDS = 2.0  # between two looks at what the cluster has
WAIT_SECONDS = 1.0
CONNECT_SECONDS = 10.0


class Method(Protocol):
    """A method of a remote worker."""

    def remote(self, *arguments: object) -> object:
        """Begin a call; returns Ray's reference to what it will return."""


class Handle(Protocol):
    """What is called on a remote `Worker`."""

    ready: Method
    hello: Method
    make: Method
    image: Method


@dataclass(eq=False, slots=True)
class Slot:
    """One worker. `call` is what it does at the moment, `work` what for; `hello` is None until its network is open."""

    handle: Handle
    call: object
    scale: int
    since: float  # when it was asked for
    alive: bool = False  # its process runs
    hello: Hello | None = None
    work: Work | None = None  # what it makes; None while it starts
    refused: str | None = None  # why it is not used

    @property
    def idle(self) -> bool:
        """Whether it waits for work."""
        return self.call is None and self.refused is None


@dataclass(eq=False, slots=True)
class Work:
    """A segment on its way; `shipment` is Ray's reference to it."""

    interval: int
    shipment: object
    attempts: int = 0


class Cluster:
    """The workers of a cluster, as many as it has room for at any moment. Close it in the end.

    `address` is ``local`` for the GPUs, or else the cores, of this machine, or Ray's address of a cluster. Workers take
    a GPU each where there is one and the backend can use it, else as many cores as `options` has threads (one).

    Raises:
        BackendError: Ray is missing, or the cluster cannot be reached.
        UsageError: options that make no sense here.
    """

    def __init__(self, address: str, options: Options) -> None:
        if options.gpu:
            raise UsageError("device chooses one GPU, but ray uses all of them; leave one of them out")
        if options.decoder != "software":
            raise UsageError(
                f"the decoder {options.decoder} is not for ray, whose workers decode in software; leave it out"
            )
        self.ray = _load_ray()
        self._address = address
        self._options, self._weights = options, _weights(options.model)  # may fail; then Ray need not be left
        self._owned = not self.ray.is_initialized()
        if self._owned:
            _connect(self.ray, address)
        self.slots: list[Slot] = []
        self._hellos: dict[int, Hello] = {}
        self._failed_starts, self._last_failure = 0, ""
        self._refusal: VidsrError | None = None  # the newest worker's that could not serve
        self._grown = -GROW_SECONDS
        self._lonely: float | None = None  # since when there has been no worker

    def hello(self, scale: int) -> Hello:
        """What the first worker that is ready says of its network of that native scale; all others must agree.

        Raises:
            VidsrError: no worker can run it.
        """
        with stage(self._too_large() or "workers"):
            while scale not in self._hellos:
                self.grow(scale)
                self.wait()
                for slot in self.slots:
                    if slot.idle and scale not in self._hellos:
                        self._ask(slot, scale)
        return self._hellos[scale]

    def _ask(self, slot: Slot, scale: int) -> None:
        answer = self.answer(slot.handle.hello.remote(scale))
        if isinstance(answer, self.ray.exceptions.RayError):
            self.drop(slot, answer)
            return
        if isinstance(answer, VidsrError):
            raise answer
        assert isinstance(answer, Hello)
        self._hellos[scale] = answer

    def grow(self, scale: int) -> None:
        """Start workers where the cluster has room for more of them.

        Raises:
            VidsrError: there have been none for minutes, none will start, or none can serve.
        """
        now = time.monotonic()
        for slot in [slot for slot in self.slots if not slot.alive and now - slot.since > STUCK_SECONDS]:
            self.drop(slot, TimeoutError("it did not come up"))
        self._lonely = None if any(slot.alive for slot in self.slots) else self._lonely or now
        if self._lonely is not None and now - self._lonely > START_SECONDS:
            why = f" ({words})" if (words := self._too_large()) else ""
            raise BackendError(f"No worker of the cluster was ready within {START_SECONDS} s{why}; see `ray status`.")
        if self._refusal is not None and self.slots and all(slot.refused for slot in self.slots):
            raise self._refusal
        if self._failed_starts >= MAX_FAILED_STARTS and not any(slot.hello for slot in self.slots):
            raise BackendError(f"No worker of the cluster starts: {self._last_failure}.")
        if now - self._grown >= GROW_SECONDS:
            self._grown = now
            for _ in range(self._room() - len(self.slots)):
                handle = self._start()
                self.slots.append(Slot(handle, handle.ready.remote(), scale, now))

    def _room(self) -> int:
        """How many workers the cluster has room for in all."""
        resources = self.ray.cluster_resources()
        if self._uses_gpus(resources):
            return int(resources["GPU"])
        wanted, there = self._options.threads or 1, self._cores()
        if self._address == LOCAL and wanted > sum(there):  # a cluster may still grow
            raise UsageError(f"threads {wanted} are more than the {sum(there)} cores that ray has here; ask for fewer")
        return sum(cores // wanted for cores in there)

    def _cores(self) -> list[int]:
        """Of each machine."""
        return [int(node["Resources"].get("CPU", 0)) for node in self.ray.nodes() if node["Alive"]]

    def _too_large(self) -> str:
        """What is asked of a machine and none has: a larger one may still come, and nothing of Ray tells."""
        wanted, most = self._options.threads or 1, max(self._cores(), default=0)
        if wanted <= most or self._uses_gpus(self.ray.cluster_resources()):
            return ""
        return f"no machine has {wanted} cores for --threads, the largest {most}"

    def _uses_gpus(self, resources: dict[str, float]) -> bool:
        return resources.get("GPU", 0) >= 1 and may_use_gpu(self._options.backend)

    def _start(self) -> Handle:
        gpu = self._uses_gpus(self.ray.cluster_resources())
        cores = 1 if gpu else self._options.threads or 1
        actor = self.ray.remote(Worker).options(num_cpus=cores, num_gpus=int(gpu), max_restarts=0, max_task_retries=0)
        handle: Handle = actor.remote(self._options, self._weights, self._options.threads if gpu else cores)
        return handle

    def wait(self) -> list[tuple[Slot, object]]:
        """What workers have answered within a second: results, or the error with which a worker was lost.

        Workers that have started are ready afterwards, and are not told.
        """
        calls = {slot.call: slot for slot in self.slots if slot.call is not None}
        if not calls:
            time.sleep(WAIT_SECONDS)
            return []
        ready, _ = self.ray.wait(list(calls), num_returns=1, timeout=WAIT_SECONDS)
        answers = [(calls[call], self.answer(call)) for call in ready]
        for slot, answer in answers:
            slot.call = None
            if slot.hello is None:
                self._welcome(slot, answer)
        return [(slot, answer) for slot, answer in answers if slot.work is not None]

    def answer(self, call: object) -> object:
        """What a call returned, or the error with which its worker was lost."""
        try:
            answer: object = self.ray.get(call)
        except self.ray.exceptions.RayTaskError:
            raise  # a fault of the program
        except self.ray.exceptions.RayError as error:
            return error
        return answer

    def _welcome(self, slot: Slot, answer: object) -> None:
        if isinstance(answer, self.ray.exceptions.RayError):
            self._failed_starts += 1
            self.drop(slot, answer)
            return
        if not slot.alive:
            slot.alive, slot.call = True, slot.handle.hello.remote(slot.scale)  # may build an engine, for minutes
        elif isinstance(answer, VidsrError):
            self.refuse(slot, answer)
        else:
            assert isinstance(answer, Hello)
            slot.hello, self._failed_starts = answer, 0
            if answer.version != __version__:
                why = f"{answer.node} has vidsr {answer.version}, but this is {__version__}"
                self.refuse(slot, BackendError(f"{why}; install the same on all machines."))

    def refuse(self, slot: Slot, why: VidsrError) -> None:
        """Use a worker no more; it keeps its place, so that none like it is started there."""
        slot.refused, self._refusal = str(why), why

    def drop(self, slot: Slot, error: Exception) -> None:
        """Forget a worker that was lost."""
        self._last_failure = first_line(error).rstrip(".")
        self.slots.remove(slot)
        self.ray.kill(slot.handle)  # if it is only out of reach, it need not go on

    def stop_busy(self) -> None:
        """End the workers that are at work; others come in their place."""
        for slot in [slot for slot in self.slots if slot.work is not None]:
            self.ray.kill(slot.handle)
            self.slots.remove(slot)

    def close(self) -> None:
        """End all workers, and the connection if it was made here."""
        try:
            for slot in self.slots:
                self.ray.kill(slot.handle)
        finally:
            self.slots.clear()
            if self._owned:
                self.ray.shutdown()


def _load_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone unless the user wants it
    if "ray" not in sys.modules and _has_token():  # `ray start` uses one that is there, ray.init must be told
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise BackendError("a cluster needs Ray, which is not installed: pip install 'vidsr-upscaler[ray]'") from error


def _has_token() -> bool:
    named = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _connect(ray: ModuleType, address: str) -> None:
    quiet: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        quiet["include_dashboard"] = False
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, **quiet)
    except (RuntimeError, ValueError, OSError) as error:
        why = first_line(error)
        raise BackendError(f"{address}: the cluster cannot be reached ({why}); see `ray status`") from error


def _weights(model: str) -> Weights | None:
    """A model that is a file here need not be one on the workers."""
    path = Path(model)
    return Weights(path.name, path.read_bytes()) if is_path(model) and path.is_file() else None
