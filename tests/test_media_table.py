"""The table of expected outcomes: well formed, able to fail, and (soak) true of the media beside this checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import media_table
from tests.clips import make_clip
from tests.media_table import Entry, Outcome, differences, entries, table

MEDIA = Path(__file__).parents[2] / "shared" / "media"
DONE = Outcome(0, 24, ("h264",), "a note", "ok")


def test_entries_are_whole() -> None:
    for entry in entries():
        assert (entry.frames is None) == (not entry.streams) == (entry.exit != 0), entry
        assert entry.says or entry.exit == 0, f"{entry.file}: a failure says why"


@pytest.mark.parametrize(
    ("entry", "outcome", "words"),
    [
        (Entry("a", frames=24, streams=("h264",)), DONE, []),
        (Entry("a", frames=23, streams=("h264",)), DONE, ["frames: 23 expected, 24 found"]),
        (Entry("a", frames=24), DONE, ["streams: () expected, ('h264',) found"]),
        (Entry("a", frames=24, streams=("h264",), says=("a word",)), DONE, ["does not say 'a word'"]),
        (Entry("a", frames=1, streams=("h264",)), Outcome(0, 1, ("h264",), "x", "ok", ("x",)), ["loses 'x'"]),
        (Entry("a", frames=1, streams=("h264",), says=("x",)), Outcome(0, 1, ("h264",), "x", "ok", ("x",)), []),
        (Entry("a", exit=1), Outcome(1, None, (), "Traceback (most ...", ""), ["a traceback"]),
        (Entry("a", frames=1, streams=("h264",)), Outcome(0, 1, ("h264",), "", "frames"), ["verify: frames"]),
    ],
)
def test_differences_are_named(entry: Entry, outcome: Outcome, words: list[str]) -> None:
    assert differences(entry, outcome) == words


def test_a_table_of_a_real_run(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=3)
    right, wrong = Entry("a.mp4", frames=3, streams=("h264",)), Entry("a.mp4", ("--end", "0.06"), exit=1)
    lines, good = table(tmp_path, [right, wrong])
    assert not good
    assert lines[2] == "| a.mp4 |  | 0 | 3 | h264 | ok | yes |"
    assert "exit: 1 expected, 0 found; frames: None expected, 2 found" in lines[3]


@pytest.mark.soak
@pytest.mark.skipif(not MEDIA.is_dir(), reason="no media are shared beside this checkout")
@pytest.mark.parametrize("entry", entries(), ids=lambda entry: " ".join((entry.file, *entry.options)))
def test_a_file_meets_its_entry(entry: Entry) -> None:
    lines, good = table(MEDIA, [entry])
    assert good, lines[-1]


@pytest.mark.skipif(not MEDIA.is_dir(), reason="no media are shared beside this checkout")
def test_every_file_has_an_entry() -> None:
    assert set(media_table.files(MEDIA)) == {entry.file for entry in entries()}
