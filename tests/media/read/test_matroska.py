"""What FFmpeg reads over in Matroska is kept where it can be, and named where it cannot."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.clips import Audio, make_clip
from tests.media.making import upscaled
from vidsr.media import ebml
from vidsr.media.ebml import elements, sections
from vidsr.media.mux.decide import plan_streams
from vidsr.media.mux.matroska import write_chapters
from vidsr.media.read.matroska import Head, head_of
from vidsr.media.read.probe import probe
from vidsr.media.read.truncation import hole_in_matroska
from vidsr.verify.comparison import compare
from vidsr.verify.inventory import take_inventory


def into_the_first(path: Path, kind: int) -> None:
    """Make the second chapter of `path` an element of this kind inside the first."""
    with path.open("r+b") as file:
        place = 0, file.seek(0, 2)
        for outer in (ebml.SEGMENT, ebml.CHAPTERS, ebml.EDITION):
            place = next(elements(file, *place, outer))
        (start, stop), (inner, end) = elements(file, *place, ebml.CHAPTER)
        file.seek(stop)
        assert file.read(1) == ebml.CHAPTER.to_bytes()
        file.seek(stop)
        file.write(kind.to_bytes())
        file.seek(place[0])
        size = (
            start - file.read(stop - place[0]).index(ebml.CHAPTER.to_bytes()) - place[0] - 1
        )  # bytes of the first's size
        file.seek(start - size)
        file.write((end - start | 1 << 7 * size).to_bytes(size, "big"))
        assert inner < end


def behind_the_pictures(path: Path, kind: int) -> None:
    """Move a section of `path` behind everything else, as mkvpropedit does with one that grows; a head points there."""
    with path.open("r+b") as file:
        start, stop = next(elements(file, 0, file.seek(0, 2), ebml.SEGMENT))
        body, end = next(elements(file, start, stop, kind))
        file.seek(start)
        begin = start + file.read(body - start).rindex(kind.to_bytes(4, "big"))
        file.seek(begin)
        section = file.read(end - begin)
        file.seek(start - 8)
        file.write((stop - start + len(section) | 1 << 56).to_bytes(8, "big"))
        head = (
            bytes.fromhex("114d9b74 94 4dbb 91 53ab 84")
            + section[:4]
            + bytes.fromhex("53ac 87")
            + (stop - start).to_bytes(7, "big")
        )
        void = len(section) - len(head)
        file.seek(begin)
        file.write(head + b"\xec" + (void - 9 | 1 << 56).to_bytes(8, "big") + bytes(void - 9))
        file.seek(stop)
        file.write(section)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("container", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ebml.CHAPTER, ["chapters inside chapters (1): dropped, FFmpeg does not read them"]),
        (ebml.CHAPTER_TITLE, ["further titles of chapters (1): dropped, FFmpeg does not read them"]),
        (None, []),
    ],
)
def test_what_is_read_over_in_chapters_is_named(
    tmp_path: Path, container: str, kind: int | None, words: list[str], behind: bool
) -> None:
    path = make_clip(tmp_path / "a.mkv", chapters=((0.0, 0.5, "A"), (0.5, 1.0, "B")))
    if kind:
        into_the_first(path, kind)
    if behind:
        behind_the_pictures(path, ebml.CHAPTERS)
    assert [str(item) for item in plan_streams(probe(path), container)[1]] == words


@pytest.mark.parametrize("kind", [ebml.CHAPTER, ebml.CHAPTER_TITLE, None])
def test_a_whole_film_keeps_its_own_chapters(tmp_path: Path, kind: int | None) -> None:
    """All of their section, languages, nesting and flags, as Matroska has them; a part has those that FFmpeg reads."""
    path = make_clip(tmp_path / "a.mkv", chapters=((0.0, 0.5, "A"), (0.5, 1.0, "B")))
    path.write_bytes(path.read_bytes().replace(b"\x43\x7c\x83und", b"\x43\x7c\x83ger"))
    if kind:
        into_the_first(path, kind)
    assert plan_streams(probe(path), "mkv", whole=True) == ([], [])
    out = tmp_path / "out.mkv"
    upscaled(path, out)
    found = head_of(out).chapters
    assert found == head_of(path).chapters
    assert found is not None
    assert found.count(b"ger") == 2
    with av.open(str(path)) as source, av.open(str(out)) as made:
        starts = [[(c["start"], c["metadata"]) for c in one.chapters()] for one in (source, made)]
        assert starts[0] == starts[1] != []
    assert hole_in_matroska(out) is None
    assert [(row.name, row.verdict) for row in compare(path, out).checks if "chapter" in row.name] == [
        ("chapters", "ok")
    ]


@pytest.mark.parametrize("over", range(1, 10))
def test_chapters_of_a_film_whose_clusters_begin_anywhere(tmp_path: Path, over: int) -> None:
    """Even where the head of one lies across the end of what is read of the file."""
    path = tmp_path / "a.mkv"
    head = bytes.fromhex("1a45dfa3 80 18538067 01") + (1 << 20).to_bytes(7, "big")
    before = bytes.fromhex("114d9b74 80 ec 40c8") + bytes(200) + bytes.fromhex("1654ae6b 80")
    length = (1 << 20) - len(head) - len(before) - 8 - over
    clusters = bytes.fromhex("1f43b675") + (length | 1 << 28).to_bytes(4, "big") + bytes(length)
    end = bytes.fromhex("1f43b675 40") + bytes([len(head) + over - 6]) + bytes(len(head) + over - 6)
    path.write_bytes(head + before + clusters + end)
    write_chapters(path, b"\x45\xb9\x80")
    assert head_of(path).chapters == b"\x45\xb9\x80"
    assert path.read_bytes()[len(head + before) :].startswith(clusters)


def test_a_head_that_points_out_of_the_file_costs_no_chapters(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", chapters=((0.0, 0.5, "A"), (0.5, 1.0, "B")))
    into_the_first(path, ebml.CHAPTER_TITLE)
    data = path.read_bytes()
    void = data.index(b"\xec", data.index(b"\x11\x4d\x9b\x74"))
    head = bytes.fromhex("114d9b74 92 4dbb 8f 53ab 81 00 53ac 88") + b"\xff" * 8
    rest = (
        data[void + 1] & 0x7F if data[void + 1] & 0x80 else int.from_bytes(data[void + 1 : void + 9], "big") % (1 << 56)
    )
    end = void + (2 if data[void + 1] & 0x80 else 9) + rest
    filler = b"\xec" + (end - void - len(head) - 2 | 0x80).to_bytes()
    path.write_bytes(data[:void] + (head + filler).ljust(end - void, b"\0") + data[end:])
    assert head_of(path).unread_chapters == {"further titles of chapters": 1}


def test_languages_of_streams_behind_a_track_that_is_none(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", audio=[Audio("aac", language="ger"), Audio("aac", language="por")])
    data = path.read_bytes().replace(b"\x22\xb5\x9c\x83por", b"\x22\xb5\x9d\x83por")
    path.write_bytes(data.replace(b"\x86\x85A_AAC", b"\xec\x85A_AAC", 1))  # the first has no codec
    assert [track.metadata.get("language_ietf") for track in take_inventory(path).tracks] == [None, "por"]


def test_chapters_that_name_tracks_are_not_taken_as_they_are(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", chapters=((0.0, 0.5, "A"), (0.5, 1.0, "B")))
    into_the_first(path, ebml.CHAPTER_TRACKS)
    assert head_of(path).chapters is None
    upscaled(path, out := tmp_path / "out.mkv")
    assert ebml.CHAPTER_TRACKS.to_bytes() not in (head_of(out).chapters or b"")


def element(kind: int, body: bytes) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + (len(body) | 1 << 28).to_bytes(4, "big") + body


def test_chapters_inside_others_that_name_tracks_are_not_taken_as_they_are(tmp_path: Path) -> None:
    for names, taken in ((b"", True), (element(ebml.CHAPTER_TRACKS, b"\x89\x81\1"), False)):
        inner = element(ebml.CHAPTER, element(ebml.CHAPTER, names))
        film = element(ebml.EBML, b"") + element(ebml.SEGMENT, element(ebml.CHAPTERS, element(ebml.EDITION, inner)))
        (tmp_path / "a.mkv").write_bytes(film)
        assert (head_of(tmp_path / "a.mkv").chapters is not None) == taken


def test_crops_are_those_of_the_streams_that_have_them(tmp_path: Path) -> None:
    """Tracks of which FFmpeg makes no streams have no number."""
    video = element(ebml.VIDEO, b"".join(element(side, bytes([number])) for number, side in enumerate(ebml.CROPS)))
    kinds = [element(ebml.TRACK_TYPE, bytes([kind])) for kind in (ebml.SOUND, ebml.PICTURES)]
    codec = element(ebml.CODEC, b"V")
    tracks = (kinds[1] + video, kinds[0] + codec, kinds[1] + codec + video, kinds[1] + codec + element(ebml.VIDEO, b""))
    film = element(ebml.SEGMENT, element(ebml.TRACKS, b"".join(element(ebml.TRACK_ENTRY, track) for track in tracks)))
    (tmp_path / "a.mkv").write_bytes(element(ebml.EBML, b"") + film)
    assert head_of(tmp_path / "a.mkv").crops == {1: (0, 1, 2, 3), 2: (0, 0, 0, 0)}
    (tmp_path / "b.mkv").write_bytes(film)
    assert head_of(tmp_path / "b.mkv") == head_of(tmp_path / "none") == Head()


def test_damage_in_one_part_of_a_head_costs_no_other(tmp_path: Path) -> None:
    info, chapters = (
        element(ebml.INFO, element(ebml.FILM_TITLE, b"A title")),
        element(ebml.CHAPTERS, element(ebml.EDITION, b"\0")),
    )
    (tmp_path / "a.mkv").write_bytes(element(ebml.EBML, b"") + element(ebml.SEGMENT, info + chapters))
    assert head_of(tmp_path / "a.mkv") == Head(title="A title")


def test_chapters_that_are_hidden_or_in_another_order_are_named(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", chapters=((0.0, 0.5, "A"), (0.5, 1.0, "B")))
    assert plan_streams(probe(path), "mkv")[1] == []
    data = path.read_bytes()
    is_default, is_ordered = bytes.fromhex("45db 81 01"), bytes.fromhex("45dd 81 01")
    title, language = bytes.fromhex("85 81") + b"B", bytes.fromhex("437c 83") + b"und"
    is_hidden = bytes.fromhex("98 81 01 ec 81 00")  # as long as the language that goes
    assert (data.count(is_default), data.count(b"\x80\x89" + title + language)) == (1, 1)
    data = data.replace(is_default, is_ordered)
    path.write_bytes(data.replace(b"\x80\x89" + title + language, b"\x80\x83" + title + is_hidden))
    assert probe(path).num_chapters == 2
    assert [str(item) for item in plan_streams(probe(path), "mkv")[1]] == [
        "orders of chapters (1): dropped, FFmpeg does not read them",
        "marks of hidden chapters (1): dropped, FFmpeg does not read them",
    ]


@pytest.mark.parametrize("behind", [False, True])
def test_a_film_keeps_its_own_title_beside_that_of_its_series(tmp_path: Path, behind: bool) -> None:
    """FFmpeg lets a title in the tags, whatever it is of, take its place."""
    path = make_clip(tmp_path / "a.mkv", metadata={"title": "The Episode", "TITLX": "The Series"})
    path.write_bytes(path.read_bytes().replace(b"TITLX", b"TITLE"))
    if behind:
        behind_the_pictures(path, ebml.INFO)
    with av.open(str(path)) as opened:
        assert [v for k, v in opened.metadata.items() if k.lower() == "title"] == ["The Series"]
    source = probe(path)
    assert source.metadata["title"] == "The Episode"
    assert [str(item) for item in plan_streams(source, "mp4")[1]] == [
        "title in tags (The Series): dropped, the film's own is kept"
    ]
    for container in ("mkv", "mp4"):
        out = tmp_path / f"out.{container}"
        upscaled(path, out, container=container)
        assert probe(out).metadata["title"] == "The Episode"
        assert {check.name: check.verdict for check in compare(path, out).checks}["metadata"] == "ok"


def test_chapters_inside_each_other_as_deep_as_a_file_likes(tmp_path: Path) -> None:
    path, body = tmp_path / "a.mkv", b""
    for kind in (*[ebml.CHAPTER] * 2000, ebml.EDITION, ebml.CHAPTERS, ebml.SEGMENT):
        size = (len(body) | 1 << 56).to_bytes(8, "big")
        body = kind.to_bytes((kind.bit_length() + 7) // 8, "big") + size + body
    path.write_bytes(ebml.EBML.to_bytes(4, "big") + b"\x80" + body)
    assert head_of(path).unread_chapters == {"chapters inside chapters": 1999}


@pytest.mark.parametrize("place", [0, 1 << 40])
def test_a_head_that_points_to_nothing(tmp_path: Path, place: int) -> None:
    """Nor does one that points to itself make it go round for ever."""
    path = make_clip(tmp_path / "a.mkv", chapters=((0.0, 1.0, "A"),))
    behind_the_pictures(path, ebml.CHAPTERS)
    head = bytes.fromhex("4dbb 91 53ab 84 1043a770 53ac 87")
    data = path.read_bytes()
    where = data.index(head) + len(head)
    start = data.index(ebml.SEGMENT.to_bytes(4, "big")) + 12
    assert data[start:].startswith(bytes.fromhex("114d9b74"))
    path.write_bytes(data[:where] + place.to_bytes(7, "big") + data[where + 7 :])
    with path.open("rb") as file:
        assert list(sections(file, ebml.CHAPTERS)) == []
