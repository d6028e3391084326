"""A name never holds half a file: whatever happens, the old one stands there whole, or the new one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vidsr import files

OLD, NEW = b"what was there before", b"what is new" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    return path


def names(path: Path) -> list[str]:
    return [each.name for each in path.parent.iterdir()]


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_replaced_whole(path: Path, shared: bool) -> None:
    files.write(path, NEW, shared=shared)
    assert path.read_bytes() == NEW
    assert names(path) == ["file.bin"]


def test_text_is_utf_8(path: Path) -> None:
    files.write(path, "größer\n")
    assert path.read_bytes() == b"gr\xc3\xb6\xc3\x9fer\n"


def test_bytes_are_on_the_disk_before_the_name_and_the_name_after(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        told.append(f"sync {target.name if target.is_file() else 'folder'}")
        assert target.is_dir() or target.read_bytes() == NEW
        sync(descriptor)

    def renamed(part: Path, target: Path) -> Path:
        told.append(f"rename {part.name} {target.name}")
        return replace(part, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not tell which file a descriptor is of")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    files.write(path, NEW)
    assert told == ["sync file.bin.part", "rename file.bin.part file.bin", "sync folder"]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(path: Path, shared: bool, error: BaseException) -> None:
    def fail() -> None:
        with files.replacing(path, shared=shared) as part:
            part.write_bytes(NEW[:1000])
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == OLD
    assert names(path) == ["file.bin"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE stands for the full disk")
@pytest.mark.parametrize("shared", [False, True])
def test_a_full_disk_leaves_what_was_there(path: Path, shared: bool) -> None:
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom vidsr import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (90000, 90000))\n"
        "try:\n    files.write(Path(sys.argv[1]), bytes(1 << 20), shared=sys.argv[2] == 'True')\n"
        "except OSError as error:\n    print(error.errno)"
    )
    command = [sys.executable, "-c", script, str(path), str(shared)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) in (errno.EFBIG, errno.ENOSPC)
    assert path.read_bytes() == OLD
    assert names(path) == ["file.bin"]


KILLER = """
import os, pathlib, sys
from vidsr import files
name, at, when = sys.argv[2], int(sys.argv[3]), sys.argv[4]
owner = os if name == "fsync" else pathlib.Path
real, calls = vars(owner)[name], [0]
def counted(*arguments, **options):
    calls[0] += 1
    if (calls[0], when) == (at, "before"):
        os.kill(os.getpid(), 9)
    result = real(*arguments, **options)
    if (calls[0], when) == (at, "after"):
        os.kill(os.getpid(), 9)
    return result
setattr(owner, name, counted)
files.write(pathlib.Path(sys.argv[1]), b"what is new" * 100_000)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("name", "at", "is_new"),
    [("write_bytes", 1, (False, False)), ("fsync", 1, (False, False)), ("replace", 1, (False, True)),
     ("fsync", 2, (True, True))],
)  # fmt: skip
def test_a_kill_leaves_the_old_file_or_the_new_one(
    path: Path, name: str, at: int, is_new: tuple[bool, bool], when: str
) -> None:
    command = [sys.executable, "-c", KILLER, str(path), name, str(at), when]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert path.read_bytes() == (NEW if is_new[when == "after"] else OLD)
    files.write(path, NEW)  # takes over what was left beside
    assert names(path) == ["file.bin"]


def test_two_writers_of_one_file_do_not_meet(path: Path) -> None:
    with files.replacing(path, shared=True) as first:
        first.write_bytes(b"first")
        with files.replacing(path, shared=True) as second:
            assert second != first
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(path) == ["file.bin"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere folders are not put on the disk")
def test_a_file_system_that_syncs_no_folders_is_no_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def refuse(code: int) -> None:
        def fsync(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
                raise OSError(code, os.strerror(code))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not tell which file a descriptor is of")
    refuse(errno.EINVAL)
    files.write(path, NEW)
    assert path.read_bytes() == NEW
    refuse(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.write(path, OLD)


def test_nothing_else_puts_files_on_the_disk() -> None:
    found = {
        str(source.relative_to(ROOT))
        for folder in ("vidsr", "train")
        for source in (ROOT / folder).rglob("*.py")
        if "fsync" in source.read_text(encoding="utf-8")
    }
    assert found == {"vidsr/files.py"}
