"""A film over two machines: network namespaces with addresses of their own, one of which is cut off in the middle.

The second machine shares neither processes nor Ray's folder with the first one, only the token at home. Lines are
those of docs/scaling.md.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.conftest import ROOT

pytest.importorskip("ray")

NAMES = ("vidsr-one", "vidsr-two")
ADDRESSES = ("10.213.7.1", "10.213.7.2")
HEAD = f"{ADDRESSES[0]}:6379"
SMALL = ("--num-cpus=1", "--object-store-memory=100000000", "--block")
SECONDS = 8  # of film, a part each
OPTIONS = (
    "--model",
    "fast",
    "--backend",
    "openvino",
    "--scale",
    "2",
    "--segment-seconds",
    "1",
    "--preset",
    "ultrafast",
)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces and the wire between them."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("there is no ip, or no unshare, here")
    try:
        for name in NAMES:
            ip("netns", "add", name)
        ip("-n", NAMES[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", NAMES[1])
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            for link in ("lo", "wire"):
                ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "route", "add", "default", "dev", "wire")
        yield NAMES
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no namespaces here: {error.stderr.decode().strip()}")
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def on(machine: str, *line: str, apart: bool = False) -> list[str]:
    """The line on that machine, `apart` with processes and a folder of Ray of its own."""
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
    inside.append('mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && exec "$@"')
    return ["ip", "netns", "exec", machine, *((*inside, "sh") if apart else ()), *line]


@contextmanager
def running(line: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    with log.open("wb") as file:
        process = subprocess.Popen(line, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=log.parent)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(words: str, log: Path, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while words not in log.read_text(errors="replace"):
        assert time.monotonic() < until, log.read_text(errors="replace")
        time.sleep(0.2)


def start(stack: ExitStack, line: list[str], log: Path) -> None:
    """Ray gives itself thirty seconds to come up, which a busy machine may need several times."""
    for _ in range(4):
        process = stack.enter_context(running(line, log))
        while process.poll() is None:
            if "runtime started" in log.read_text(errors="replace"):
                return
            time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace"))


def events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]


@pytest.mark.soak
def test_a_machine_that_is_cut_off_costs_a_part_and_no_byte(machines: tuple[str, str], tmp_path: Path) -> None:
    one, two = machines
    ray = str(Path(sys.executable).with_name("ray"))
    vidsr = (sys.executable, "-m", "vidsr", "upscale")
    clip = make_clip(tmp_path / "clip.mp4", frames=24 * SECONDS, width=96, height=72, bframes=2, gop=24)
    plain = subprocess.run(
        [*vidsr, str(clip), "-o", str(tmp_path / "plain.mp4"), *OPTIONS, "--threads", "1"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    head, worker, job = (tmp_path / name for name in ("head.log", "worker.log", "job.log"))
    with ExitStack() as stack:
        start(stack, on(one, ray, "start", "--head", "--include-dashboard=false", *SMALL), head)
        assert ADDRESSES[0] in head.read_text()
        start(stack, on(two, ray, "start", f"--address={HEAD}", *SMALL, apart=True), worker)
        assert ADDRESSES[1] in worker.read_text()
        line = [*vidsr, str(clip), "-o", str(tmp_path / "out.mp4"), *OPTIONS, "--ray", HEAD, "--json"]
        process = stack.enter_context(running(on(one, *line), job))
        wait_for('"segment"', job)
        while sum(event["event"] == "segment" for event in events(job)) < 3:
            assert process.poll() is None, job.read_text()
            time.sleep(0.1)
        ip("-n", two, "link", "set", "wire", "down")
        assert process.wait(400) == 0, job.read_text()
    told = events(job)
    retried = [event for event in told if event["event"] == "retried"]
    assert [event["attempt"] for event in retried] == [1]
    assert [event["num_frames"] for event in told if event["event"] == "segment"] == [24] * SECONDS
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()
