"""What becomes of every file in a folder of media, against what is written down in `media_expected.toml`.

    python -m tests.media_table DIR -o table.md [--only NAME] [--propose]

Each entry is one run of ``vidsr upscale --scale 2 --model bicubic`` and, where it made a file, of ``vidsr verify``. The
table lists both outcomes; the exit code is 1 if one differs from what is expected, or a file has no entry.
``--propose``
prints entries for files that have none, as they turned out: read each line before it is committed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from tests import warm
from train import markdown

EXPECTED = Path(__file__).with_name("media_expected.toml")
UPSCALE = ("--scale", "2", "--model", "bicubic", "--backend", "cpu", "--json")
TIMEOUT = 900  # seconds: a hang is a result, too


@dataclass(frozen=True)
class Entry:
    """What is expected of one run. `frames` and `streams` are the output's; `says` is part of what the user reads."""

    file: str
    options: tuple[str, ...] = ()
    exit: int = 0
    frames: int | None = None
    streams: tuple[str, ...] = ()
    says: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What happened. `said` is all that the user reads; `verified` what `vidsr verify` found to differ, or "ok".

    `dropped` is what the output does not hold: an entry must name all of it.
    """

    exit: int
    frames: int | None
    streams: tuple[str, ...]
    said: str
    verified: str
    dropped: tuple[str, ...] = ()


def entries(path: Path = EXPECTED) -> list[Entry]:
    """All entries of `path`, a TOML file of [[run]] tables."""
    runs = tomllib.loads(path.read_text())["run"]
    fields: list[dict[str, Any]] = [{k: tuple(v) if isinstance(v, list) else v for k, v in run.items()} for run in runs]
    return [Entry(**each) for each in fields]


def attempt(source: Path, options: Sequence[str], folder: Path) -> Outcome:
    """Upscale `source` into `folder` and verify what comes out."""
    done = _vidsr("upscale", str(source), "-o", f"{folder}/", *UPSCALE, *options)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = [done.stderr]
    for event in events:
        said += [event.get("error", ""), *event.get("notes", ()), *event.get("dropped", ()), *event.get("kept", ())]
    made = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode != 0 or not made:
        return Outcome(done.returncode, None, (), "\n".join(filter(None, said)), "")
    frames = next((event["num_frames"] for event in events if event["event"] == "done"), None)
    verified = _verified(source, made[0], options)
    dropped = next((tuple(event["dropped"]) for event in events if event["event"] == "done"), ())
    return Outcome(0, frames, tuple(_streams(made[0])), "\n".join(filter(None, said)), verified, dropped)


def differences(entry: Entry, outcome: Outcome) -> list[str]:
    """In words, what of `outcome` is not as `entry` has it."""
    wrong = []
    for name in ("exit", "frames", "streams"):
        want, got = getattr(entry, name), getattr(outcome, name)
        if want != got:
            wrong.append(f"{name}: {want} expected, {got} found")
    wrong += [f"does not say {words!r}" for words in entry.says if words not in outcome.said]
    wrong += [f"loses {lost!r}" for lost in outcome.dropped if not any(words in lost for words in entry.says)]
    if outcome.exit == 0 and outcome.verified != "ok":
        wrong.append(f"verify: {outcome.verified}")
    if "Traceback" in outcome.said:
        wrong.append("a traceback")
    return wrong


def table(folder: Path, wanted: Iterable[Entry]) -> tuple[list[str], bool]:
    """Markdown lines, and whether all is as expected."""
    rows, good = list[list[str]](), True
    for entry in wanted:
        with tempfile.TemporaryDirectory() as place:
            outcome = attempt(folder / entry.file, entry.options, Path(place))
        wrong = differences(entry, outcome)
        good = good and not wrong
        row = (entry.file, " ".join(entry.options), outcome.exit, outcome.frames or "", ", ".join(outcome.streams))
        rows.append([str(cell) for cell in (*row, outcome.verified, "; ".join(wrong) or "yes")])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    return markdown.table(["file", "options", "exit", "frames", "streams", "verify", "as expected"], rows), good


def files(folder: Path) -> list[str]:
    """Names of the media in `folder`, without its documentation."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".md")


def propose(folder: Path, names: Iterable[str]) -> None:
    """Print an entry for each of `names`, as it turned out."""
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            outcome = attempt(folder / name, (), Path(place))
        print(f"[[run]]\nfile = {json.dumps(name)}")
        if outcome.exit:
            print(f"exit = {outcome.exit}")
        else:
            print(f"frames = {outcome.frames}\nstreams = {json.dumps(list(outcome.streams))}")
        print(
            f"# verify: {outcome.verified}" if outcome.verified != "ok" else "", *outcome.said.splitlines(), sep="\n# "
        )
        print(flush=True)


def _vidsr(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vidsr", *arguments]
    return warm.run(command, capture_output=True, text=True, timeout=TIMEOUT)


def _streams(path: Path) -> Iterable[str]:
    with av.open(str(path), metadata_errors="replace") as opened:
        for stream in opened.streams:
            codec = stream.codec_context.codec.canonical_name if stream.codec_context else stream.type
            yield str(codec)


def _verified(source: Path, output: Path, options: Sequence[str]) -> str:
    """The names of the checks that failed, or "ok"."""
    passed = [k for n, k in enumerate(options) if k in ("--start", "--end") or options[n - 1] in ("--start", "--end")]
    done = _vidsr("verify", str(source), str(output), "--json", *(passed if options else ()))
    if not done.stdout:
        return done.stderr.strip() or f"exit code {done.returncode}"
    report = json.loads(done.stdout)
    names = [f"{check['name']} ({check['detail']})" for check in report["checks"] if check["verdict"] == "differs"]
    return "; ".join(names) or ("ok" if report["ok"] and done.returncode == 0 else f"exit code {done.returncode}")


def main() -> int:
    """The command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--propose", action="store_true")
    arguments = parser.parse_args()
    names = [name for name in files(arguments.folder) if arguments.only in name]
    known = [entry for entry in entries() if entry.file in names] if EXPECTED.exists() else []
    unknown = [name for name in names if name not in {entry.file for entry in known}]
    if arguments.propose:
        propose(arguments.folder, unknown)
        return 0
    lines, good = table(arguments.folder, known)
    lines += [f"| {name} | | | | | | it has no entry |" for name in unknown]
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")
    return 0 if good and not unknown else 1


if __name__ == "__main__":
    sys.exit(main())
