"""The documents as tests read them: fenced blocks, and stand-in files of the names that they use.

A block with ``<!-- not run: reason -->`` on the line before its fence is not executed.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.clips import Audio, Subtitles, cut_off, jpeg, make_clip
from tests.conftest import ROOT
from tests.interlaced import Film, make_interlaced
from tests.train.conftest import photo, save

DOCUMENTS = (ROOT / "README.md", ROOT / "train" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*(?<!-)|(?<![\w-])-[a-z]{1,2}(?![\w-])")


@dataclass(frozen=True)
class Block:
    """A fenced block of `document`; `why` it is not run, or an empty string."""

    document: Path
    line: int
    language: str
    text: str
    why: str

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    text = document.read_text()
    return [
        Block(document, text.count("\n", 0, match.start()) + 1, match["language"], match["text"], match["why"] or "")
        for match in _FENCE.finditer(text)
    ]


def make_workspace(folder: Path) -> Path:
    """Tiny files of all names that the documents use; `folder` is the user's home as well."""
    sound, text = [Audio(seconds=0.2)], [Subtitles(((0.0, 0.1, "One line."),))]
    clip = make_clip(folder / "clip.mp4", frames=6, audio=sound)
    for name in ("a.mp4", "original.mp4", "holiday/2024/beach.mp4", "clips/one.mp4", "clips/two.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
    make_clip(folder / "b.mp4", frames=6, options={"crf": "45"})
    make_clip(folder / "film.mkv", frames=12, rate=Fraction(1, 10), subtitles=text)  # two minutes
    make_interlaced(folder / "tape.mkv", Film(frames=6))
    whole = make_clip(folder / "whole.ts", frames=24)
    cut_off(whole, folder / "damaged.ts", 0.6).rename(folder / "damaged.mp4")  # its name does not matter
    whole.unlink()
    (folder / "holiday" / "photo.jpg").write_bytes(jpeg())
    (folder / "photo.jpg").write_bytes(jpeg())
    for number in range(1, 4):
        save(folder / "shots" / f"shot_{number:04d}.png", photo(number, 24, 32))
    for number in range(3):
        save(folder / "photos" / f"{number}.png", photo(number, 200, 208))
    for part, side in (("HR", 64), ("LR", 16)):
        save(folder / "benchmarks" / "Set14" / "x4" / f"001_{part}.png", photo(1, side, side))
    weights = ROOT / "vidsr" / "models" / "weights" / "fast-x4.safetensors"
    shutil.copy(weights, folder / "fast-x4.safetensors")
    return folder
