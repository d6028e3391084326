"""Figures for the documents: measured into docs/figures/*.json, rendered from there between markers.

    python scripts/figures.py                             # write the tables into README.md and docs/
    python scripts/figures.py measure BENCHMARKS PHOTOS   # first measure the models that changed: minutes each on a CPU

A table stands between ``<!-- figures: NAME -->`` and ``<!-- /figures -->``; NAME is one of `TABLES`. BENCHMARKS is a
folder with Set5 and Set14, PHOTOS one of photos, over which the video benchmark is made.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.markdown import table
from train.videobench import BenchPlan, make
from vidsr.models.registry import ModelInfo, available_models, default_model, load

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
BENCHMARKS = ("Set5", "Set14")
HEADINGS = {  # figure of `python -m train` -> heading, decimals
    "psnr_y": ("PSNR Y", ".2f"),
    "ssim_y": ("SSIM Y", ".4f"),
    "stlpips-alex": ("ST-LPIPS", ".3f"),
    "squeezenet": ("SqueezeNet", ".3f"),
    "shift_flicker": ("shift-flicker", ".2f"),
    "colour_drift": ("colour drift", ".2f"),
    "checkerboard": ("checkerboard", ".3f"),
    "hatch_slopes": ("hatch, slopes", ".2f"),
    "hatch_dark": ("hatch, dark", ".2f"),
    "drift_mean": ("drift", ".2f"),
    "drift_worst": ("worst drift", ".2f"),
    "flicker": ("flicker", ".2f"),
    "warp_error": ("warp error", ".2f"),
    "tlp-stlpips-alex": ("tLP", ".2f"),
}
QUALITY = (
    *("psnr_y", "ssim_y", "stlpips-alex", "squeezenet", "shift_flicker", "colour_drift", "checkerboard"),
    *("hatch_slopes", "hatch_dark", "drift_mean", "drift_worst"),
)
VIDEO = ("psnr_y", "stlpips-alex", "squeezenet", "flicker", "warp_error", "tlp-stlpips-alex")
SHARING = ("sound", "PCM", "second pictures", "subtitles")  # kinds of streams that have several codecs or layouts
NAMES = {"mp3lame": "mp3", "dca": "dts", "x264": "h264", "x265": "hevc", "vpx": "vp8", "vpx-vp9": "vp9"}
NAMES |= {"aom-av1": "av1", "msmpeg4": "msmpeg4v3", "xvid": "mpeg4 (xvid)", "pgs": "PGS", "subrip": "srt"}
CRF, FRAMES = 28, 4  # of the video benchmark: its middle quality, and so many frames of each clip


def measure(benchmarks: Path) -> None:
    """Run ``python -m train evaluate --json`` for every shipped model on every benchmark, into models.json.

    What was measured of the very same weights is kept.
    """
    old, reports = _known("models.json"), []
    for info in available_models():
        weights = load(info.name, info.scale).weights_hash
        for name in BENCHMARKS:
            if known := old.get((info.name, info.scale, name, weights)):
                reports.append(known)
                continue
            arguments = ["evaluate", "--benchmark", name, "--model", info.name, "--scale", str(info.scale), "--json"]
            report = _train(*arguments, "--benchmarks", str(benchmarks))
            reports.append({"command": " ".join(["python -m train", *arguments]), **report})
    _keep("models.json", reports)


def measure_video(photos: Path) -> None:
    """Run ``python -m train videobench`` for every shipped model, into video.json; what is known is kept."""
    old, reports = _known("video.json"), []
    with tempfile.TemporaryDirectory() as folder:
        digests: dict[int, str] = {}
        for info in available_models():
            bench, weights = Path(folder) / str(info.scale), load(info.name, info.scale).weights_hash
            if info.scale not in digests:
                digests[info.scale] = make(BenchPlan(scale=info.scale), photos, bench).digest
            if known := old.get((info.name, info.scale, digests[info.scale], weights)):
                reports.append(known)
                continue
            arguments = ["--measure", info.name, "--frames", str(FRAMES), "--crf", str(CRF)]
            arguments += ["--distance", "stlpips-alex", "--distance", "squeezenet", "--json"]
            report = _train("videobench", "--out", str(bench), *arguments)
            said = " ".join(["python -m train videobench --out BENCHMARK", *arguments])
            kept = {key: report[key] for key in ("model", "scale", "benchmark", "frames", "rows")}
            reports.append({"command": said, "weights": weights, **kept})
    _keep("video.json", reports)


def _train(*arguments: str) -> dict[str, Any]:
    """What ``python -m train`` prints as JSON."""
    command = [sys.executable, "-m", "train", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _known(name: str) -> dict[tuple[str, int, str, str], dict[str, Any]]:
    path = FIGURES / name
    return {_key(one): one for one in json.loads(path.read_text())} if path.exists() else {}


def _keep(name: str, reports: Sequence[Mapping[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(report) for report in reports)
    (FIGURES / name).write_text(f"[\n{lines}\n]\n")


def _key(report: Mapping[str, Any]) -> tuple[str, int, str, str]:
    return report["model"], report["scale"], report["benchmark"], report["weights"]


def models() -> list[str]:
    """The table of the README: what each model costs, and its PSNR."""
    means = _means()
    rows = []
    for info in available_models():
        macs = info.metadata.get("macs_per_pixel")
        cost = f"{int(str(macs)) / 1000:.0f} k" if macs else "none"
        psnrs = [f"{means[info.name, info.scale, name]['psnr_y']:.2f} dB" for name in BENCHMARKS]
        rows.append([f"`{info.name}`", str(info.scale), cost, *psnrs, _purpose(info)])
    heading = ["model", "scale", "multiply-adds per input pixel", "Set5 PSNR-Y", "Set14 PSNR-Y", "trained for"]
    return table(heading, rows)


def quality() -> list[str]:
    """The figures of every model on both benchmarks: those that were measured."""
    rows, means = [], _means()
    measured = [key for key in QUALITY if any(key in mean for mean in means.values())]
    for (name, scale, benchmark), mean in means.items():
        figures = [_cell(mean, key) if key in mean else "" for key in measured]
        rows.append([f"`{name}`", str(scale), benchmark, *figures])
    return table(["model", "scale", "on", *(HEADINGS[key][0] for key in measured)], rows)


def video() -> list[str]:
    """Figures of every model on the compressed clips of the video benchmark."""
    rows = []
    for one in json.loads((FIGURES / "video.json").read_text()):
        figures = one["rows"][f"crf{CRF}"]
        rows.append([f"`{one['model']}`", str(one["scale"]), *(_cell(figures, key) for key in VIDEO)])
    return table(["model", "scale", *(HEADINGS[key][0] for key in VIDEO)], rows)


def _cell(figures: Mapping[str, float], key: str) -> str:
    return format(figures[key], HEADINGS[key][1])


def bench() -> list[str]:
    """What `vidsr bench --json` measured: the command, the machine, the network alone and whole jobs."""
    data = json.loads((FIGURES / "bench.json").read_text())
    machine = ", ".join(f"{key} {value}" for key, value in data["machine"].items())
    networks = [
        [_line(row), _size(row), f"{row['milliseconds']:.4g}", f"{row['flops'] / 1e9:.0f}", _decibels(row["psnr"])]
        for row in data["networks"]
    ]
    jobs = [
        [_line(row), _size(row), row["codec"], f"{row['fps']:.4g}", row["limit"], f"{row['busy'][row['limit']]:.0%}"]
        for row in data["jobs"]
    ]
    lines = [f"`{data['bench']}` on {machine}:", ""]
    if networks:
        lines += table(["network alone", "input", "ms a frame", "GFLOP/s", "PSNR to FP32"], networks)
    if jobs:
        lines += ["", *table(["whole job", "input", "codec", "fps", "limited by", "busy"], jobs)]
    return lines


def matrix() -> list[str]:
    """What becomes of each kind of stream in each container, as `python -m tests.field.matrix` found it.

    Streams of a kind that fare alike share a row; what most sources have comes first, then those that differ.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    outputs: list[str] = []
    for name, found in json.loads((FIGURES / "matrix.json").read_text()).items():
        if found:
            outputs = list(found)
            kind, _, codec = name.replace(", ", " ").rpartition(" ")
            fares = kind or codec, *(_fares(cells) for cells in found.values())
            alike.setdefault(fares, []).append(NAMES.get(codec, codec) if kind in SHARING else "")
    rows = [[f"{fares[0]}: {', '.join(codecs)}".removesuffix(": "), *fares[1:]] for fares, codecs in alike.items()]
    return table(["stream", *outputs], rows)


def _fares(cells: Mapping[str, Sequence[str]]) -> str:
    """What becomes of a stream in one container, by verdict the containers that it comes from."""
    most, *others = sorted(cells, key=lambda verdict: -len(cells[verdict]))
    return "; ".join([_short(most), *(f"from {', '.join(cells[verdict])} {_short(verdict)}" for verdict in others)])


def _short(verdict: str) -> str:
    return verdict.replace("left out, said", "left out")


def strength() -> list[str]:
    """What strengths do, as `python scripts/strength.py` measured it."""
    data = json.loads((FIGURES / "strength.json").read_text())
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for one in data:
        alike.setdefault((f"`{one['model']}`", str(one["scale"]), one["stage"]), []).append(one)
    rows = []
    for key, found in alike.items():
        for kind in ("noise", "detail"):
            rows.append([*key, kind, *(f"{one[kind]:.2f}" for one in found)])
    steps = [f"{strength:g}" for strength in dict.fromkeys(one["strength"] for one in data)]
    return table(["model", "scale", "strength", "codes of", *steps], rows)


TABLES: dict[str, Callable[[], list[str]]] = {
    "models": models,
    "quality": quality,
    "video": video,
    "bench": bench,
    "matrix": matrix,
    "strength": strength,
}


def rendered(text: str) -> str:
    """`text` with what stands between its markers replaced by the tables of now."""

    def table_of(match: re.Match[str]) -> str:
        return f"{match[1]}\n" + "\n".join(TABLES[match[2]]()) + f"\n\n{match[3]}"

    return MARKED.sub(table_of, text)


def _means() -> dict[tuple[str, int, str], Mapping[str, float]]:
    reports: list[dict[str, Any]] = json.loads((FIGURES / "models.json").read_text())
    return {(one["model"], one["scale"], one["benchmark"]): one["mean"] for one in reports}


def _purpose(info: ModelInfo) -> str:
    places = {gpu for gpu in (False, True) if default_model(info.scale, gpu=gpu)[0] == info.name}
    default = {0: "", 1: f" (the default with{'' if True in places else 'out'} a GPU)", 2: " (the default)"}
    return str(info.metadata.get("purpose", "")) + default[len(places)]


def _line(row: Mapping[str, Any]) -> str:
    line = row["line"]
    return f"{line['backend']}, {line['precision']}"


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"


def _size(row: Mapping[str, Any]) -> str:
    return f"{row['width']}x{row['height']}"


def main(arguments: Sequence[str]) -> None:
    """Measure if asked to, and write the tables."""
    if arguments:
        if arguments[0] != "measure" or len(arguments) != 3:
            sys.exit(__doc__)
        benchmarks, photos = (Path(argument).resolve() for argument in arguments[1:])
        measure(benchmarks)
        measure_video(photos)
    for path in DOCUMENTS:
        path.write_text(rendered(path.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
