"""Which files an argument of the command line means, and where the output of each goes."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidsr.errors import MediaError, OutputError, UsageError, VidsrError
from vidsr.files import WINDOWS, fitting, key, why_no_name
from vidsr.media import sequence
from vidsr.media.containers import VIDEO_SUFFIXES
from vidsr.media.read.content import holds_pictures
from vidsr.media.stills import IMAGE_SUFFIXES

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FACTOR = re.compile(r"[xX]?(\d(?:\.\d+)?)[xX]?")

PIPE = "-"  # as a source, standard input; as an output, standard output
_REFUSED = (".heic", ".heif", ".hif", ".jxl")  # photos that are not read: nobody would miss their results in time
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES) | frozenset(IMAGE_SUFFIXES) | frozenset(_REFUSED)


@dataclass(frozen=True, slots=True)
class Input:
    """One source, the folder below which its place is kept in the output, and whether the user named it."""

    path: Path
    root: Path
    named: bool
    kind: Literal["file", "pipe", "sequence"] = "file"
    number: int | None = None  # of an image of a sequence


def expand(arguments: Sequence[str], *, recursive: bool = False) -> tuple[list[Input], list[tuple[Path, VidsrError]]]:
    """The sources that `arguments` (files, folders, globs) mean, each once, in order; and what could not be found.

    Raises:
        UsageError: an argument that can be no file: an address, or a scale.
    """
    found: dict[str, Input] = {}
    missing: list[tuple[Path, VidsrError]] = []
    for argument in arguments:
        try:
            for item in _expand_one(argument, recursive):
                found.setdefault(key(item.path), item)
        except UsageError:
            raise
        except VidsrError as error:
            missing.append((Path(argument), error))
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # a closed folder, a loop of links, a long name
            missing.append((Path(argument), MediaError(f"{argument[:200]}: cannot be read ({error})")))
    return list(found.values()), missing


def sizes(sources: Iterable[Input]) -> dict[Path, int]:
    """Bytes of each source; a guess at its work, and 0 of one that is no file."""
    found: dict[Path, int] = {}
    for item in sources:
        try:
            found[item.path] = item.path.stat().st_size
        except OSError:
            found[item.path] = 0
    return found


def settle(sources: Sequence[Input], target: Target) -> list[Input]:
    """Image sequences whose output is no video become their images, each with its number.

    Raises:
        MediaError: a sequence has no images.
    """
    if target.file is not None or target.pipe:
        return list(sources)
    settled: list[Input] = []
    for item in sources:
        if item.kind == "sequence":
            found = sequence.find(item.path).items()
            settled += [Input(path, item.root, named=False, number=number) for number, path in found]
        else:
            settled.append(item)
    return settled


def _expand_one(argument: str, recursive: bool) -> Iterable[Input]:
    path = Path(argument)
    if argument == PIPE:
        return [Input(path, Path(), named=True, kind="pipe")]
    check_name(argument, path)
    if sequence.is_pattern(argument) and not path.exists():
        return [Input(path, path.parent, named=True, kind="sequence")]
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


def check_name(argument: str, path: Path) -> None:
    """Raises UsageError for what can be no source: an empty name, an address, a scale."""
    if not argument:
        raise UsageError("the name of a source is empty; name a file or a folder")
    if _ADDRESS.match(argument):
        raise UsageError(f"{argument}: vidsr reads files, not addresses; download it first")
    if (factor := _FACTOR.fullmatch(argument)) and not path.exists():
        raise UsageError(f"{argument}: there is no such file; to make a video {argument}, say --scale {factor[1]}")


def refuse_source(output: Path, source: Path) -> None:
    """Raises OutputError where they are the same file."""
    if is_same(output, source):
        raise OutputError(f"{output}: the output would replace its own source; choose another name for it")


def is_same(output: Path, source: Path) -> bool:
    """Whether both names mean one file, by a link or in another case, too."""
    try:
        return output.samefile(source)
    except OSError:  # one of them does not exist
        return output.resolve() == source.resolve()


def _media_below(folder: Path, recursive: bool) -> Iterator[Path]:
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part.endswith(".vidsr") for part in inside)
        if hidden or not path.is_file():
            continue
        if path.suffix.lower() in MEDIA_SUFFIXES or holds_pictures(path):
            yield path


@dataclass(frozen=True, slots=True)
class Target:
    """Where outputs go: a file, a folder, standard output, numbered images, or (none of them) beside each source."""

    file: Path | None = None
    folder: Path | None = None
    pipe: bool = False
    pattern: Path | None = None

    def path(self, source: Input, label: str, suffix: str) -> Path:
        """Of the output of `source`; `label` is that of its options, `suffix` that of its container."""
        if self.file is not None:
            return self.file
        if self.pattern is not None and source.number is not None:
            return sequence.numbered(self.pattern, source.number)
        name = fitting(source.path.stem, f"_{label}{suffix}")
        if self.folder is None:
            return source.path.with_name(name)
        return self.folder / source.path.parent.relative_to(source.root) / name


def target(output: str | None, arguments: Sequence[str], inputs: Sequence[Input]) -> Target:
    """What `-o` means: a folder if it is one, ends in a slash or has no suffix; else the one output file.

    ``-`` is standard output, and a name such as ``big_%04d.png`` stands for numbered images.

    Raises:
        UsageError: one output for several sources, or for a folder; a file in place of a folder; an empty name; or
            none at all for standard input.
    """
    if output is None:
        if any(item.kind == "pipe" for item in inputs):
            raise UsageError("standard input has no name: say where its output goes, with -o FILE or -o -")
        return Target()
    if not output:  # as of a shell's variable that is not set
        raise UsageError("the name behind -o (output) is empty; name a file or a folder, or leave it out")
    path = Path(output)
    if WINDOWS and (why := why_no_name(path)) is not None:
        raise UsageError(f"{output} cannot be written on Windows: {why}; choose another name")
    if output == PIPE or sequence.is_pattern(output):
        if len(inputs) > 1:
            raise UsageError(f"{output} is for one source, but there are {len(inputs)}: use a folder, such as out/")
        return Target(pipe=True) if output == PIPE else Target(pattern=path)
    if path.is_dir() or output.endswith(("/", "\\")) or not path.suffix:
        if any(item.kind == "pipe" for item in inputs):
            raise UsageError(f"{output} is a folder, and standard input has no name: name a file, or - for a pipe")
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is no folder, as which a name without a suffix is taken; choose another name")
        return Target(folder=path)
    if len(inputs) > 1 or any(Path(argument).is_dir() for argument in arguments):
        raise UsageError(f"{output} is one file, but there may be several sources: name a folder, such as out/")
    return Target(file=path)
