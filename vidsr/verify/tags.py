"""What the files say about themselves and their streams: metadata, languages, flags, chapters, attachments."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction

from av.stream import Disposition

from vidsr.media.containers import CONTAINERS, Container
from vidsr.media.mux import flags
from vidsr.media.mux.fingerprint import KEY
from vidsr.media.mux.languages import held
from vidsr.media.mux.streams import NOT_COPIED
from vidsr.media.mux.timecode import later, timecode_of
from vidsr.verify.inventory import Chapter, Inventory, ListedTrack, Pairing
from vidsr.verify.packets import Mapping as Times
from vidsr.verify.phrases import plain, seconds, some
from vidsr.verify.report import Finding, same
from vidsr.words import counted

_IGNORED = (*NOT_COPIED, KEY, "duration", "timecode")  # of the file, not of the film; timecode has a row of its own
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_GRAIN = Fraction(1, 1000)  # seconds: of chapters, in every container
_UNNAMED = ("und", "", None)


def check_metadata(source: Inventory, output: Inventory) -> Iterator[Finding]:
    """Of the file as a whole. Where the container has no place for it, the stream rows say so."""
    if not CONTAINERS[output.container].metadata:
        return
    before, after = _own(source.metadata), _own(output.metadata)
    wrong = _differences(before, after)
    yield same("metadata", counted(len(before), "tag"), counted(len(after), "tag"), not wrong, some(wrong))


def check_streams(picture: ListedTrack, pairing: Pairing, output: Inventory) -> Iterator[Finding]:
    """Languages, other tags, and flags of all streams; only the file's own creation time is the film's."""
    row = CONTAINERS[output.container]
    yield from _check_words("languages", picture, pairing, row, ("language",))
    if row.metadata:
        without = ("language", "creation_time", "stereo_mode")  # stereo is a property of the picture
        yield from _check_words("stream tags", picture, pairing, row, row.tags, without)
        yield _check_flags(picture, pairing, row)


def check_chapters(source: Inventory, output: Inventory, mapping: Times, *, own: bool) -> Iterator[Finding]:
    """Begin, end and title of each; those of the source's `own` section are, where its clock is that of the source."""
    if not CONTAINERS[output.container].metadata:
        return
    if own and mapping.window is None and not mapping.shift:
        yield same("chapters", str(len(source.chapters)), str(len(output.chapters)), True, "")
        return
    want = [c for c in (_moved(chapter, mapping) for chapter in source.chapters) if c is not None]
    found = output.chapters
    wrong = [
        f"chapter {n}: {why}" for n, (a, b) in enumerate(zip(want, found, strict=False), 1) if (why := _apart(a, b))
    ]
    if len(want) != len(found):
        wrong = [
            f"{counted(abs(len(want) - len(found)), 'chapter')} {'missing' if len(found) < len(want) else 'too many'}"
        ]
    if want or found:
        yield same("chapters", str(len(want)), str(len(found)), not wrong, some(wrong))


def check_attachments(pairing: Pairing) -> Iterator[Finding]:
    """Fonts and cover pictures: names, types and bytes."""
    wanted = [track for item, track in pairing.missing if item.kind in ("attachment", "cover")]
    kept = [(old, new) for item, old, new in pairing.kept if item.kind in ("attachment", "cover")]
    if not wanted and not kept:
        return
    wrong = [f"{_attached_name(track)} is missing" for track in wanted]
    for old, new in kept:
        if old.digests != new.digests:
            wrong.append(f"{_attached_name(old)} has other bytes")
        elif old.kind == new.kind == "attachment" and _attached_name(old) != _attached_name(new):
            wrong.append(f"{_attached_name(old)} is called {_attached_name(new)}")
    yield same("attachments", str(len(wanted) + len(kept)), str(len(kept)), not wrong, some(wrong))


def check_timecode(
    source: Inventory, output: Inventory, pairing: Pairing, mapping: Times, rate: Fraction | None
) -> Iterator[Finding]:
    """The timecode of a track that is written anew; a part begins later than the source."""
    if any(item.kind == "timecode" for item in pairing.rewritten):
        before, after = _timecode(source), _timecode(output)
        want = before
        if mapping.window is not None:
            want = later(before, mapping.window[0] - mapping.begin, rate)
        yield same("timecode", before, after, want == after, f"it should be {plain(want)}")


def _timecode(inventory: Inventory) -> str:
    found = (timecode_of(t.metadata) for t in inventory.tracks)
    return next((text for text in found if text), timecode_of(inventory.metadata) or "none")


def _own(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without what speaks of the file, and without a second notation ("location-eng") of what is there already."""
    found = {key.lower(): value for key, value in metadata.items() if key.lower() not in _IGNORED}
    return {key: value for key, value in found.items() if not (key[-4:-3] == "-" and key[:-4] in found)}


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    gone = [f"{plain(key)} is missing" for key in before if key not in after]
    new = [f"{plain(key)} is not in the source" for key in after if key not in before]
    other = [
        f"{plain(key)} is {plain(after[key])!r} instead of {plain(value)!r}"
        for key, value in before.items()
        if key in after and not _same_value(key, after[key], value)
    ]
    return gone + other + new


def _same_value(key: str, found: str, want: str) -> bool:
    """Muxers write times and places in their own notation."""
    if key in ("creation_time", "date"):
        found, want = (re.sub(r"\D", "", text)[:14] for text in (found, want))
    elif key.startswith("location"):
        return [float(n) for n in _NUMBER.findall(found)] == [float(n) for n in _NUMBER.findall(want)]
    return found == want


def _tracks(picture: ListedTrack, pairing: Pairing) -> list[tuple[ListedTrack, ListedTrack]]:
    """Source and output, the upscaled stream first; covers and attachments have a row of their own."""
    own = [(picture, pairing.picture)] if pairing.picture is not None else []
    return own + [(old, new) for item, old, new in pairing.kept if item.kind not in ("cover", "attachment")]


def _check_words(
    name: str,
    picture: ListedTrack,
    pairing: Pairing,
    container: Container,
    keys: Collection[str] | None,
    without: Sequence[str] = (),
) -> Iterator[Finding]:
    """The tags `keys` of every stream, or all but `without`, languages as `container` spells them."""
    wrong: list[str] = []
    count = [0, 0]
    for old, new in _tracks(picture, pairing):
        before, after = (
            {
                k.lower(): v
                for k, v in track.metadata.items()
                if (keys is None or k.lower() in keys) and k.lower() not in (*without, *_IGNORED) and v not in _UNNAMED
            }
            for track in (old, new)
        )
        if name != "languages":
            after = {key: value for key, value in after.items() if key in before}  # muxers name their handlers
        if "language" in before:
            spelt = held(before.pop("language"), old.kind, container)
            before |= {"language": spelt} if spelt else {}
        count = [count[0] + len(before), count[1] + len(after)]
        wrong += [f"{old.kind} {old.index}: {why}" for why in _differences(before, after)]
    if any(count):
        yield same(name, str(count[0]), str(count[1]), not wrong, some(wrong))


def _check_flags(picture: ListedTrack, pairing: Pairing, container: Container) -> Finding:
    """Default, forced and the like, as the container holds them, which may need a default where there was none."""
    wrong: list[str] = []
    words: list[list[str]] = [[], []]
    pairs = _tracks(picture, pairing)
    for old, new in pairs:
        before, after = flags.held(old.disposition, old.kind, container), new.disposition
        if container.boxes and not any(Disposition.default in o.disposition for o, _ in pairs if o.kind == old.kind):
            before, after = before & ~Disposition.default, after & ~Disposition.default
        both = flags.names(before), flags.names(after)
        words[0] += both[0]
        words[1] += both[1]
        if both[0] != both[1]:
            said = [" ".join(names) for names in both]
            wrong.append(f"{old.kind} {old.index} has {said[1] or 'no flag'} instead of {said[0] or 'none'}")
    counts = [", ".join(f"{w.count(flag)} {flag}" for flag in sorted(set(w))) or "none" for w in words]
    return same("flags", counts[0], counts[1], not wrong, some(wrong))


def _moved(chapter: Chapter, mapping: Times) -> Chapter | None:
    """As the output should have it; None where it lies outside the part that was asked for."""
    begin, end = chapter.start, chapter.end
    if mapping.window is not None:
        begin = max(begin, mapping.window[0])
        end = min(end, Fraction(mapping.window[1])) if mapping.window[1] != float("inf") else end
        if begin >= end:
            return None
    shift = mapping.shift
    return Chapter(max(begin + shift, Fraction(0)), max(end + shift, Fraction(0)), chapter.title, chapter.grain)


def _apart(want: Chapter, found: Chapter) -> str:
    """Why both are not the same; empty where they are."""
    grain = max(_GRAIN, want.grain / 2)
    if abs(want.start - found.start) > grain or abs(want.end - found.end) > grain:
        spans = [f"{seconds(c.start)} to {seconds(c.end)}" for c in (found, want)]
        return f"{spans[0]} instead of {spans[1]}"
    return "" if want.title == found.title else f"{plain(found.title)!r} instead of {plain(want.title)!r}"


def _attached_name(track: ListedTrack) -> str:
    return plain(track.metadata.get("filename", track.kind))
