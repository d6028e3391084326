"""Which operations and kernels the time of a network goes to, for one way in which torch runs it. JSON on stdout.

python scripts/layers.py --model srgan --backend cuda --path fused --size 960x540
"""

from __future__ import annotations

import argparse
import json

import torch
from torch.profiler import ProfilerActivity, profile

from vidsr.backends.tensorrt.key import parse_size
from vidsr.bench.network import GPU_PATHS, BenchLine, open_line
from vidsr.bench.timing import wait_for
from vidsr.models import registry

MOST = 25  # rows, the longest first


def main() -> None:
    """Profile a few calls after some that choose algorithms and compile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="srgan")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--backend", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--path", choices=GPU_PATHS, default="fused")
    parser.add_argument("--size", default="960x540", help="WIDTHxHEIGHT of the input")
    parser.add_argument("--calls", type=int, default=5)
    wanted = parser.parse_args()
    height, width = parse_size(wanted.size)
    model = registry.load(wanted.model, wanted.scale)
    backend = open_line(BenchLine(wanted.backend, wanted.precision, wanted.path), model)
    batch = torch.rand((1, 3, height, width)).to(backend.device, backend.dtype)
    backend.prepare((1, height, width))
    for _ in range(5):
        backend(batch)
    wait_for(backend.device)
    gpu = backend.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as profiled:
        for _ in range(wanted.calls):
            backend(batch)
        wait_for(backend.device)
    rows = [
        {
            "name": event.key,
            "calls": event.count / wanted.calls,
            "milliseconds": (event.self_device_time_total if gpu else event.self_cpu_time_total) / 1000 / wanted.calls,
        }
        for event in profiled.key_averages()
    ]
    rows.sort(key=lambda row: -row["milliseconds"])
    print(json.dumps({"line": f"{wanted.backend} {backend.precision} {wanted.path}", "rows": rows[:MOST]}, indent=1))
    backend.close()


if __name__ == "__main__":
    main()
