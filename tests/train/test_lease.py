"""A whole plan by the clock, rehearsed on the CPU: killed, resumed, on a full disk; and plans that are wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import warm
from tests.conftest import ROOT
from tests.train.conftest import photo, save
from train import checkpoint
from train.__main__ import main
from train.lease.parcels import MAX_BYTES, MAX_FILES, Parcels
from train.lease.plan import PLANS, read_plan
from train.lease.running import Lease
from train.recipe import Recipe
from train.run import Anneal, Clock, Run
from vidsr.errors import OutputError
from vidsr.models import registry
from vidsr.models.names import is_path

RECIPE = """
name = "tiny"
steps = 10
batch = 2
patch = 8
precision = "fp32"
warmup = 2
[generator]
graph = "fast"
scale = 2
channels = 8
blocks = 1
"""
PIXEL = """
[[phases]]
name = "pixel"
recipe = "{recipe}"
share = 1
"""
VIDEO = """
[[phases]]
name = "video"
recipe = "{recipe}"
share = 2
hold = 0.3
after = "pixel"
keeps = "pixel"
[phases.changes]
data = "baked"
losses = {{ shift = 0.1, adversarial = 0.01, kept = 0.1, keeps = "fast" }}
discriminator = {{ channels = 4 }}
[bake]
scale = 2
crop = 16
variants = 2
frames = 1
per_shard = 1
processes = 1
least = 4
"""


@pytest.fixture
def rented(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos, a benchmark and a recipe, in which the command runs."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    for name, side in (("one_HR", 48), ("one_LR", 24)):
        save(tmp_path / "benchmarks" / "Set5" / "x2" / f"{name}.png", photo(0, side, side))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.Popen", warm.Popen)  # of what measures
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return tmp_path


class Looks(Clock):
    """Goes on with every look at it: a slow machine takes as many steps."""

    looks = 0

    @property
    def gone(self) -> float:
        self.looks += 1
        return min(1.0, self.looks / 60)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Phases of some steps, with a report after each; the seconds that they would have had."""
    given, real = list[float](), Lease._seconds
    monkeypatch.setattr(Lease, "_seconds", lambda *asked: given.append(real(*asked)) or 1e-3)
    monkeypatch.setattr("train.lease.running.Clock", Looks)
    return given


def write(folder: Path, *phases: str, head: str = 'photos = "photos"') -> str:
    (folder / "plan.toml").write_text(head + "".join(phases).format(recipe=folder / "tiny.toml"))
    return str(folder / "plan.toml")


def contents(out: Path) -> dict[str, bytes]:
    """All that is in the parcels, each of which must be whole."""
    found = {}
    for path in out.glob("*.tar"):
        with tarfile.open(path) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                assert file
                found[entry.name] = file.read()
                assert len(found[entry.name]) == entry.size
    return found


def phases(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(contents(out)["lease.json"])["phases"]
    return found


def load(out: Path, name: str) -> registry.Model:
    path = out.parent / f"{name}.safetensors"
    path.write_bytes(contents(out)[path.name])
    return registry.load(str(path), 2)


def assert_it_travels(out: Path) -> None:
    files = list(out.iterdir())
    assert len(files) <= MAX_FILES
    assert all(path.stat().st_size <= MAX_BYTES for path in files)


def test_a_plan_from_photos_to_measured_weights(rented: Path, brief: list[float]) -> None:
    """What is reserved for the figures is not waited for once they are there."""
    plan = write(rented, PIXEL, VIDEO, head='photos = "photos"\nbenchmarks = "benchmarks"\nreserve = 0.4\n')
    assert main(["lease", plan, "--seconds", "2000", "--out", "out", "--device", "cpu"]) == 0
    out = rented / "out"
    assert brief[0] <= 1200 / 3  # its share
    assert brief[1] > brief[0]  # all that is left
    assert_it_travels(out)
    said, inside = phases(out), contents(out)
    for name in ("pixel", "video"):
        assert said[name]["finished"]
        assert said[name]["measured"]
        assert said[name]["step"] > 0
        model: Any = load(out, name)
        assert "Set5" in model.metadata["metrics"]
        assert "steps at a constant rate" in model.metadata["steps"]
        assert "| Set5 |" in inside[f"{name}.md"].decode()
        assert inside[f"{name}.csv"].startswith(b"step,loss,rate")
        assert inside[f"{name}.png"].startswith(b"\x89PNG")
    assert "from tiny x2" in str(load(out, "video").metadata["steps"])
    assert "pairs out of clips" in inside["video.md"].decode()
    assert "0.1 L1 from the details that pixel.safetensors draws" in inside["video.md"].decode()
    assert "baked pairs" in (out / "lease.log").read_text()
    assert any(name.startswith("runs/video/stable/step-") for name in inside)
    assert main(["lease", plan, "--seconds", "200", "--out", "out"]) == 1  # not over what is there


def started(plan: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "train", "lease", plan, "--seconds", "400", "--out", "out", "--device", "cpu"]
    return warm.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def wait_for(process: subprocess.Popen[bytes], name: str, out: Path) -> None:
    while not any(one.startswith(name) for one in contents(out)):
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.05)


def test_killed_it_leaves_the_best_so_far_and_goes_on(rented: Path, brief: list[float]) -> None:
    plan, out = write(rented, PIXEL + "hold = 0.002"), rented / "out"
    with started(plan) as process:
        wait_for(process, "runs/pixel/stable/", out)
        process.kill()
    (out / "weights-1.tar.part").write_bytes(b"half")
    assert_it_travels(out)
    before = phases(out)["pixel"]
    assert not before["finished"]
    assert 0 < before["gone"] < 1
    load(out, "pixel")
    saved = max(int(name.split("step-")[1].split("/")[0]) for name in contents(out) if "step-" in name)
    assert main(["lease", plan, "--seconds", "10", "--out", "out", "--work", "fresh", "--resume"]) == 0
    assert_it_travels(out)
    assert f"pixel goes on at step {saved}" in (out / "lease.log").read_text()
    assert all(one["finished"] for one in phases(out).values())
    assert phases(out)["pixel"]["step"] > saved
    assert not list(out.glob("*.part"))


def test_terminated_it_stops_with_its_weights(rented: Path) -> None:
    plan, out = write(rented, PIXEL + "hold = 0.002"), rented / "out"
    with started(plan) as process:
        wait_for(process, "pixel.safetensors", out)
        process.terminate()
        said = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert any(name.startswith("runs/pixel/stable/") for name in contents(out))
    assert not phases(out)["pixel"]["finished"]
    load(out, "pixel")


@pytest.mark.skipif(sys.platform != "linux", reason="looks up which file is open where Linux says it")
def test_a_full_disk_is_tried_again(
    rented: Path, brief: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until after the phase nothing can be written: the weights are in memory still, and are written at last."""
    plan, real = write(rented, PIXEL), os.fsync
    room: list[bool] = []

    def full(descriptor: int) -> None:
        if not room and "/out/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", full)
    assert main(["lease", plan, "--seconds", "2.2", "--out", "out", "--device", "cpu"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: Cannot write out/weights-1.tar (No space left on device)")
    assert not list((rented / "out").glob("*.tar*"))
    monkeypatch.setattr(Lease, "_end_figures", lambda _: room.append(True))
    assert main(["lease", plan, "--seconds", "2.2", "--out", "out", "--device", "cpu"]) == 0
    load(rented / "out", "pixel")


def test_a_phase_that_fails_leaves_the_others_their_time(
    rented: Path, brief: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lost = PIXEL.replace("pixel", "lost").replace("share", 'init = "none.safetensors"\nshare')
    assert main(["lease", write(rented, lost, PIXEL), "--seconds", "800", "--out", "out", "--device", "cpu"]) == 1
    assert "1 of 2 phases failed. lost:" in capsys.readouterr().err
    assert phases(rented / "out")["pixel"]["finished"]
    assert brief[0] > 760 / 2  # all that there is, not a share


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (PIXEL + PIXEL, "two phases called pixel"),
        (VIDEO, "after the unknown phase 'pixel'; before it: none"),
        (VIDEO.replace('after = "pixel"', ""), "keeps the details of the unknown phase 'pixel'; before it: none"),
        (PIXEL + VIDEO.replace("kept = 0.1, keeps", "keeps"), "belong together"),
        (PIXEL + PIXEL.replace('"pixel"', '"other"\nkeeps = "pixel"'), "but its recipe weighs none: set losses.kept"),
        (PIXEL.replace("{recipe}", "srgan-x9"), "Cannot read the recipe srgan-x9"),
        (PIXEL.replace("share", "shar"), "Unknown phase key 'shar'"),
        (PIXEL.replace("share = 1", ""), "has no 'share'"),
        (PIXEL.replace("= 1", '= "much"'), "'share' is of the wrong kind"),
        (PIXEL + "hold = 1.5", "needs share > 0 and 0 <= hold < 1"),
        (PIXEL + 'init = "fast"\nresume = "x"', "can begin in one way only"),
        (PIXEL.replace("pixel", "a/b"), "letters, digits"),
        (PIXEL + "[phases.changes]\nbatches = 3", "Unknown recipe key 'batches'"),
        (PIXEL + "[bake]\ncropp = 3", "Unknown bake key 'cropp'"),
        (PIXEL + VIDEO.replace("scale = 2", "scale = 4"), "is x2, the pairs of [bake] are x4"),
        ("phases = 3", "write [[phases]]"),
        ("", "has no [[phases]]"),
        ("[", "not valid TOML"),
    ],
)
def test_an_impossible_plan_is_a_sentence(
    rented: Path, plan: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lease", write(rented, plan, head=""), "--data", "photos", "--seconds", "60", "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (rented / "out").exists()


def test_without_photos_or_time_nothing_begins(rented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lease", write(rented, PIXEL, VIDEO), "--seconds", "3", "--out", "out"]) == 2
    assert "with 2 phases needs 4 seconds at least" in capsys.readouterr().err
    assert main(["lease", write(rented, PIXEL, head=""), "--seconds", "60", "--out", "out"]) == 2
    assert "names no photos; give a folder with --data" in capsys.readouterr().err
    assert not (rented / "out").exists()
    (rented / "empty").mkdir()
    assert main(["lease", write(rented, PIXEL), "--data", "empty", "--seconds", "60", "--out", "out"]) == 1
    assert "holds no image" in capsys.readouterr().err
    assert main(["lease", "no-such-plan", "--seconds", "60"]) == 2
    assert "Cannot read the plan no-such-plan" in capsys.readouterr().err


@pytest.mark.parametrize("name", [path.stem for path in sorted(PLANS.glob("*.toml"))])
def test_every_committed_plan_is_possible(name: str) -> None:
    plan = read_plan(name)
    plan.check_seconds(840)
    known = {info.name for info in registry.available_models()}
    assert all(phase.init in known for phase in plan.phases if phase.init and not is_path(phase.init))


def test_rates_follow_the_clock(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[-1])
    one = Run(recipe, torch.device("cpu"))
    one.clock = Clock(50.0, 0.6, began=100.0)
    one.step, factors, begins = 100, [], []
    for now in (100.0, 129.9, 135.0, 140.0, 149.0, 150.0, 200.0):
        times.append(now)
        begins.append(one.follow_clock())
        factors.append(one.rate() / recipe.rate)
        one.step += 10
    assert factors == pytest.approx([1, 1, 0.75, 0.5, 0.05, 0, 0], abs=1e-6)
    assert begins == [False, False, True, False, False, False, False]
    times.append(140.0)
    one.step, one.anneal = 140, Anneal(120, 1)
    one.follow_clock()
    assert one.anneal == Anneal(120, 40)  # half of the time took 20
    one.step, one.clock = 0, Clock(50.0, 0.6, began=140.0)
    assert one.rate() == recipe.rate / recipe.warmup


def test_checkpoints_make_room_for_each_other(tmp_path: Path) -> None:
    parcels = Parcels(tmp_path / "out", {"a": 100, "b": 100})
    files = [tmp_path / "runs" / f"{number}.bin" for number in range(6)]
    files[0].parent.mkdir()
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * (9 << 20))
    parcels.keep("a", {"a.safetensors": b"weights"}, {"step": 1})
    for phase, step in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        assert parcels.keep_state(phase, step, tmp_path, files[:3])
        assert_it_travels(parcels.folder)
        names = sorted(path.name for path in parcels.folder.glob("state-*"))
        assert names[-3:] == [f"state-{phase}-{step:08d}-{number}.tar" for number in (1, 2, 3)]
    assert contents(parcels.folder)["runs/1.bin"] == files[1].read_bytes()
    assert contents(parcels.folder)["a.safetensors"] == b"weights"
    assert not parcels.keep_state("b", 3, tmp_path, files)
    with pytest.raises(OutputError, match="make two plans"):
        Parcels(tmp_path / "out", {str(number): MAX_BYTES - (1 << 20) for number in range(7)})


def test_a_damaged_parcel_is_named(tmp_path: Path) -> None:
    parcels = Parcels(tmp_path / "out", {"a": 100})
    parcels.keep("a", {"a.safetensors": io.BytesIO(b"x" * 5000).getvalue()}, {"step": 1})
    path = tmp_path / "out" / "weights-1.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(OutputError, match=r"Cannot unpack .*weights-1\.tar"):
        Parcels(tmp_path / "out", {"a": 100}).unpack(tmp_path / "work")


@pytest.mark.parametrize("report", ["{", "[]", "{}", '{"phases": {"a": 3}}'])
def test_a_damaged_report_is_named(tmp_path: Path, report: str) -> None:
    (tmp_path / "lease.json").write_text(report)
    with pytest.raises(OutputError, match=r"The report .*lease\.json is damaged; take"):
        Parcels(tmp_path / "out", {"a": 100}).unpack(tmp_path)


def test_a_state_unpacks_to_a_checkpoint(tmp_path: Path, recipe: Recipe) -> None:
    one = Run(recipe, torch.device("cpu"))
    saved = checkpoint.save(tmp_path / "runs" / "a" / "stable", 3, one.freeze())
    Parcels(tmp_path / "out", {"a": 100}).keep_state("a", 3, tmp_path, sorted(saved.iterdir()))
    Parcels(tmp_path / "out", {"a": 100}).unpack(tmp_path / "work")
    back = checkpoint.load(tmp_path / "work" / "runs" / "a" / "stable" / saved.name)
    assert all(torch.equal(back.tensors[name], value) for name, value in one.freeze().tensors.items())
