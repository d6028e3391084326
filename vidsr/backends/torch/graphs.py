"""CUDA graphs: a network of many short kernels replayed as one, over buffers that stay where they are."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from vidsr.stages import stage

MAX_GRAPHS = 3  # shapes kept; frames of one film need one, its tiles or last batch another
MAX_SEEN = 32  # shapes remembered that came once
WARM_UPS = 3  # runs before the capture: they choose algorithms and compile, which a capture must not

T = TypeVar("T")
Pool: TypeAlias = "torch.cuda._POOL_HANDLE"  # memory that graphs share


@dataclass(frozen=True, eq=False)
class _Captured:
    graph: torch.cuda.CUDAGraph
    batch: Tensor
    result: Tensor


class Graphs:
    """Runs `function`, (N, 3, H, W) -> (N, C, H', W') on one GPU, by one CUDA graph for each shape of batch.

    A shape is captured when it comes for the second time: pictures of all sizes gain nothing from graphs.
    All graphs share one pool of memory, so the largest decides how much. The result is a copy, contiguous, that
    outlives the next call. Everything is queued on the current stream; the host does not wait.

    Raises, in a call:
        RuntimeError: what torch raises: out of memory, or that `function` cannot be captured.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._captured: OrderedDict[tuple[int, ...], _Captured] = OrderedDict()
        self._seen: deque[tuple[int, ...]] = deque(maxlen=MAX_SEEN)  # shapes of calls that were not captured
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: Tensor) -> Tensor:
        """`function` of `batch`."""
        shape = tuple(batch.shape)
        with torch.cuda.device(self._device):
            if shape not in self._captured:
                if shape not in self._seen:
                    self._seen.append(shape)
                    return self._function(batch).contiguous()
                self._make_room()
                with stage("graph"):
                    self._captured[shape] = self._capture(batch)
            self._captured.move_to_end(shape)
            captured = self._captured[shape]
            captured.batch.copy_(batch)
            captured.graph.replay()
            return captured.result.clone(memory_format=torch.contiguous_format)

    def clear(self) -> None:
        """Drop all graphs and give their memory back to the device."""
        if self._captured:
            torch.cuda.synchronize(self._device)
            self._captured.clear()
        with torch.cuda.device(self._device):
            self._pool = torch.cuda.graph_pool_handle()
            torch.cuda.empty_cache()

    def _make_room(self) -> None:
        if len(self._captured) >= MAX_GRAPHS:
            torch.cuda.synchronize(self._device)  # the oldest may be running still
            self._captured.popitem(last=False)

    def _capture(self, example: Tensor) -> _Captured:
        batch = example.clone(memory_format=torch.channels_last)
        graph, result = capture(lambda: self._function(batch), self._stream, self._pool)
        return _Captured(graph, batch, result)


def capture(function: Callable[[], T], stream: torch.cuda.Stream, pool: Pool) -> tuple[torch.cuda.CUDAGraph, T]:
    """A graph of what `function` asks of the current GPU, captured on `stream`, and what it returned.

    What the function makes lies in `pool`.

    Raises:
        RuntimeError: what torch raises: out of memory, or that it cannot be captured.
    """
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            function()
    current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:  # thread_local: other threads, decoding or with streams of their own, go on during a capture
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            result = function()
    finally:
        torch.cuda.set_stream(current)  # which a capture that fails leaves as its own
    return graph, result
