"""What Windows refuses, played by fakes: open files, devices' names, consoles of one byte, names in another case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

from tests.clips import Audio, make_clip
from tests.conftest import ROOT
from vidsr import files
from vidsr.api import upscale_video
from vidsr.errors import OutputError, UsageError
from vidsr.jobs import inputs as arguments
from vidsr.jobs.claims import Claims
from vidsr.jobs.events import Done
from vidsr.jobs.inputs import Input, expand, target

DESCRIPTORS = Path("/proc/self/fd")


def refuse_open(*paths: Path) -> None:
    """As Windows: whoever has the file open keeps it where it is."""
    wanted = {str(path.resolve()) for path in paths}
    for descriptor in DESCRIPTORS.iterdir():
        try:
            name = str(descriptor.readlink())
        except OSError:
            continue
        if name in wanted:
            raise PermissionError(13, "The process cannot access the file because it is being used", name)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A system on which open files are neither removed nor replaced; which were."""
    if not DESCRIPTORS.is_dir():
        pytest.skip("nobody tells here which files are open")
    done: list[str] = []
    replace, unlink = Path.replace, Path.unlink

    def replaced(self: Path, other: Path) -> Path:
        refuse_open(self, Path(other))
        done.append(f"replace {Path(other).name}")
        return replace(self, other)

    def unlinked(self: Path, missing_ok: bool = False) -> None:
        if self.exists():
            refuse_open(self)
            done.append(f"unlink {self.name}")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(Path, "unlink", unlinked)
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    return done


def test_a_job_touches_no_file_that_is_open(windows: list[str], tmp_path: Path) -> None:
    """Parts, their manifest, the join, the check, the preview, the output in the place of an older one, the lock."""
    clip = make_clip(tmp_path / "clip.mp4", frames=48, bframes=2, audio=[Audio(seconds=2)])
    output = tmp_path / "out.mp4"
    output.write_bytes(b"an older one")
    done = upscale_video(
        clip, output, model="bicubic", scale=2, segment_seconds=1, overwrite=True, preview=tmp_path / "now.png"
    )
    assert isinstance(done, Done)
    assert done.num_frames == 48
    assert {"replace out.mp4", "unlink lock", "replace now.png"} <= set(windows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "now.png", "out.mp4"]


def test_the_fake_refuses_what_is_open(windows: list[str], tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb"), pytest.raises(PermissionError):
        path.unlink()
    with path.open("rb"), pytest.raises(PermissionError):
        files.write(path, b"new")
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [name.name for name in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("patient", [True, False])
def test_a_file_that_a_scanner_holds_is_replaced_a_moment_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patient: bool
) -> None:
    tries: list[Path] = []
    replace = Path.replace

    def held(self: Path, other: Path) -> Path:
        tries.append(self)
        if len(tries) < 3:
            raise PermissionError(13, "Access is denied")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(files, "WINDOWS", patient)
    if not patient:
        with pytest.raises(PermissionError):
            files.write(tmp_path / "file", b"new")
        return
    files.write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("con.mp4", "con.mp4 is the name of a device"),
        (r"films\NUL", "NUL is the name of a device"),
        ("Com1.tar.mkv", "Com1.tar.mkv is the name of a device"),
        (r"C:\films\lpt9 .mp4", "lpt9 .mp4 is the name of a device"),
        ("what?.mp4", "no name holds '?'"),
        (r"C:\a\clip.mp4:stream", "no name holds ':'"),
        ("clip.mp4.", "'clip.mp4.' ends in a dot or a space"),
        (r"films \clip.mp4", "'films ' ends in a dot or a space"),
        ("concert.mp4", None),
        (r"C:\films\..\com10\auxiliary.mkv", None),
        (r"\\server\share\x.mp4", None),
    ],
)
def test_names_that_windows_does_not_write(name: str, why: str | None) -> None:
    assert files.why_no_name(PureWindowsPath(name)) == why


def test_an_output_that_windows_would_not_write_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "WINDOWS", True)
    with pytest.raises(UsageError, match=r"aux\.mp4 cannot be written on Windows: .* is the name of a device; choose"):
        target("aux.mp4", ["a.mp4"], [])
    monkeypatch.setattr(arguments, "WINDOWS", False)
    assert target("aux.mp4", ["a.mp4"], []).file == Path("aux.mp4")


def test_names_that_differ_in_case_or_in_the_form_of_accents_are_one_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources = [Path("a", "Caf\u00e9.mp4"), Path("b", "CAFE\u0301.mp4")]
    items = [Input(path, path.parent, named=True) for path in sources]
    outputs = [tmp_path / path.name for path in sources]
    apart = Claims(items)
    for output, source in zip(outputs, sources, strict=True):
        apart.take(output, source)
    monkeypatch.setattr(files, "FOLDS_CASE", True)
    folded = Claims(items)
    folded.take(outputs[0], sources[0])
    with pytest.raises(OutputError, match="too; rename one, or use two folders"):
        folded.take(outputs[1], sources[1])
    clip = make_clip(tmp_path / "clip.mp4", frames=1)
    assert len(expand([str(clip), str(tmp_path / "CLIP.mp4")])[0]) == 1


def test_a_console_of_one_byte_shows_any_name(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "日本 \U0001f3ac ü.mp4", frames=1)
    script = (
        "import sys\nfrom vidsr.cli import main\nwanted = sys.argv[1:]\n"
        "for options in ([], ['--json']):\n"
        "    sys.argv = ['vidsr', 'probe', *wanted, *options]\n"
        "    try:\n        main()\n    except SystemExit as ended:\n        assert not ended.code\n"
    )
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(clip)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode("cp1252")
    assert "ü.mp4" in said
    assert "\\u65e5" in said
    assert json.loads(said[said.index("\n{") :])
