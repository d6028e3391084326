"""Which files an argument of the command line means, and where the output of each goes."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidsr.errors import MediaError, UsageError, VidsrError
from vidsr.media.codecs import VIDEO_SUFFIXES
from vidsr.media.stills import IMAGE_SUFFIXES

MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES) | frozenset(IMAGE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Input:
    """One source, the folder below which its place is kept in the output, and whether the user named it."""

    path: Path
    root: Path
    named: bool


def expand(arguments: Sequence[str], *, recursive: bool = False) -> tuple[list[Input], list[tuple[Path, VidsrError]]]:
    """The sources that `arguments` (files, folders, globs) mean, each once, in order; and what could not be found."""
    found: dict[Path, Input] = {}
    missing: list[tuple[Path, VidsrError]] = []
    for argument in arguments:
        try:
            for item in _expand_one(argument, recursive):
                found.setdefault(item.path.resolve(), item)
        except VidsrError as error:
            missing.append((Path(argument), error))
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # a closed folder, a loop of links, a long name
            missing.append((Path(argument), MediaError(f"{argument[:200]}: cannot be read ({error})")))
    return list(found.values()), missing


def _expand_one(argument: str, recursive: bool) -> Iterable[Input]:
    path = Path(argument)
    if path.is_dir():
        items = [Input(file, path, named=False) for file in _media_below(path, recursive)]
        if not items:
            hint = "" if recursive else " (--recursive looks into its folders, too)"
            raise MediaError(f"{path}: no video or image in this folder{hint}")
        return items
    if path.exists() or not glob.has_magic(argument):
        return [Input(path, path.parent, named=True)]  # a missing file is its job's failure, reported like any other
    matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207  (absolute patterns)
    items = [Input(match, match.parent, named=False) for match in matches if match.is_file()]
    if not items:
        raise MediaError(f"{argument}: no file matches this pattern")
    return items


def _media_below(folder: Path, recursive: bool) -> Iterator[Path]:
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part.endswith(".vidsr") for part in inside)
        if not hidden and path.suffix.lower() in MEDIA_SUFFIXES and path.is_file():
            yield path


@dataclass(frozen=True, slots=True)
class Target:
    """Where outputs go: a file, a folder, or (neither) beside each source."""

    file: Path | None = None
    folder: Path | None = None

    def path(self, source: Input, label: str, suffix: str) -> Path:
        """Of the output of `source`; `label` is that of its options, `suffix` that of its container."""
        if self.file is not None:
            return self.file
        name = f"{source.path.stem}_{label}{suffix}"
        if self.folder is None:
            return source.path.with_name(name)
        return self.folder / source.path.parent.relative_to(source.root) / name


def target(output: str | None, arguments: Sequence[str], inputs: Sequence[Input]) -> Target:
    """What `-o` means: a folder if it is one, ends in a slash or has no suffix; else the one output file.

    Raises:
        UsageError: one output file for several sources, or for a folder.
    """
    if output is None:
        return Target()
    path = Path(output)
    if path.is_dir() or output.endswith(("/", "\\")) or not path.suffix:
        return Target(folder=path)
    if len(inputs) > 1 or any(Path(argument).is_dir() for argument in arguments):
        raise UsageError(f"-o {output} is one file, but there may be several sources: name a folder, such as -o out/")
    return Target(file=path)
