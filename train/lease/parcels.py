"""The folder that comes back from a rented machine: few files, none large, whole at any moment.

``lease.log`` grows line by line. ``weights-N.tar`` hold the weights of the phases, finished or not, with cards, logs
and a picture each, and the report; ``state-PHASE-STEP-N.tar`` a checkpoint to go on from. All unpack beside each other.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidsr.errors import OutputError
from vidsr.files import write

MAX_FILES = 8
MAX_BYTES = 15 << 20  # of a file
OTHERS = 2  # the log, and a file that is being written
REPORT = "lease.json"


class Parcels:
    """Keeps `folder`. `sizes` are the bytes that the weights of each phase take, by its name.

    Raises:
        OutputError: there is more than such a folder may hold, or it cannot be made.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self.folder = folder
        self.report: dict[str, Any] = {}
        self._kept: dict[str, dict[str, bytes]] = {name: {} for name in sizes}
        self._bins = _in_bins(sizes)
        if OTHERS + len(self._bins) > MAX_FILES:
            raise OutputError(
                f"The weights of {len(sizes)} phases do not fit into {MAX_FILES} files; make two plans of it."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob("*.part"):
                part.unlink()
        except OSError as error:
            raise OutputError(f"Cannot write into {folder} ({error.strerror}); choose another --out.") from error

    def keep(self, phase: str, files: Mapping[str, bytes], report: Mapping[str, object]) -> None:
        """Put files of `phase` into its parcel, in place of those of the same name, and what the report says of it.

        Raises:
            OutputError: it cannot be written; all is still there for the next try.
        """
        self._kept[phase] |= files
        self.report.setdefault("phases", {}).setdefault(phase, {}).update(report)
        (number,) = (number for number, names in enumerate(self._bins) if phase in names)
        self._write_bin(number)

    def write(self) -> None:
        """Write all weights and the report again.

        Raises:
            OutputError: a parcel cannot be written.
        """
        for number in range(len(self._bins)):
            self._write_bin(number)

    def _write_bin(self, number: int) -> None:
        content = {name: data for phase in self._bins[number] for name, data in self._kept[phase].items()}
        mine = {**self.report, "phases": {p: self.report.get("phases", {}).get(p, {}) for p in self._bins[number]}}
        name = REPORT if number == 0 else f"lease-{number + 1}.json"
        content[name] = (json.dumps(mine, indent=2) + "\n").encode()
        self._write(f"weights-{number + 1}.tar", content)

    def keep_state(self, phase: str, step: int, root: Path, files: Sequence[Path]) -> bool:
        """Keep a checkpoint of `phase`: `files`, named below `root`. False where it is too large for the folder.

        Checkpoints of other phases make room for it, the oldest first, and so does its own last one if need be.

        Raises:
            OutputError: it cannot be read or written.
        """
        try:
            content = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        except OSError as error:
            raise OutputError(f"Cannot read the checkpoint {files[0].parent} ({error.strerror}).") from error
        bins = _in_bins({name: len(data) for name, data in content.items()})
        room = MAX_FILES - OTHERS - len(self._bins) - len(bins)
        if room < 0:
            return False
        mine = f"state-{phase}-"
        there = self.folder.glob("state-*.tar")
        old = sorted(there, key=lambda path: (path.name.startswith(mine), path.stat().st_mtime))
        for path in old[: max(0, len(old) - room)]:
            path.unlink(missing_ok=True)
        for number, names in enumerate(bins, 1):
            self._write(f"state-{phase}-{step:08d}-{number}.tar", {name: content[name] for name in names})
        for path in self.folder.glob(f"state-{phase}-*.tar"):
            if not path.name.startswith(f"state-{phase}-{step:08d}-"):
                path.unlink()
        return True

    def _write(self, name: str, content: Mapping[str, bytes]) -> None:
        """Put a tar there whole or not at all."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for inner, data in content.items():
                entry = tarfile.TarInfo(inner)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        target = self.folder / name
        try:
            write(target, file.getvalue())
        except OSError as error:
            raise OutputError(
                f"Cannot write {target} ({error.strerror}); what is there stays. Free some space."
            ) from error

    def unpack(self, work: Path) -> None:
        """Take over what an earlier lease left in the folder: weights and report here, runs into `work`.

        Raises:
            OutputError: a parcel or its report is damaged, or cannot be unpacked.
        """
        for path in sorted(self.folder.glob("*.tar")):
            try:
                with tarfile.open(path) as tar:
                    tar.extractall(work, filter="data")
            except (OSError, tarfile.TarError) as error:
                raise OutputError(f"Cannot unpack {path} ({error}); take it out, or give another --out.") from error
        for report in sorted(work.glob("lease*.json")):
            said = _read_report(report)
            self.report = {**said, "phases": self.report.get("phases", {}) | said["phases"]}
        for phase, kept in self._kept.items():
            kept |= {path.name: path.read_bytes() for path in work.glob(f"{phase}.*") if path.is_file()}


def _read_report(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(one, dict) for one in (said, said["phases"], *said["phases"].values())):
            raise TypeError(f"{said!r} is no report")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(
            f"The report {path} is damaged; take the weights-*.tar that it came with out, or give another --out."
        ) from error
    return dict(said)


def _in_bins(sizes: Mapping[str, int]) -> list[list[str]]:
    """Names in the order given, as many to a file as fit; a tar adds a header to each."""
    bins: list[list[str]] = []
    filled = MAX_BYTES
    for name, size in sizes.items():
        whole = size + 2048
        if filled + whole > MAX_BYTES - 16384:
            bins.append([])
            filled = 0
        bins[-1].append(name)
        filled += whole
    return bins
