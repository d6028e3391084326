"""All streams of a file with the times and digests of their packets, and which stream of an output is whose."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.codeccontext import VideoCodecContext

from vidsr.media.containers import CONTAINERS, recognised
from vidsr.media.mux.decide import decide
from vidsr.media.mux.hidden import preroll, unneeded
from vidsr.media.mux.streams import Dropped, KeptStream, codec_name, is_cover
from vidsr.media.mux.tracks import own_metadata
from vidsr.media.read.joints import Joints, OneClock
from vidsr.media.read.matroska import head_of
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.tags import tags

NO_TIME = -(2**63)
"""In `ListedTrack.pts` and `ListedTrack.dts`: the packet has none."""

_PGS, _PGS_END = "hdmv_pgs_subtitle", b"\x80\0\0"  # segment of type 0x80, without content
_NO_TEXT = b"\0\0"  # what mp4 writes where no subtitle is shown


@dataclass(slots=True)
class ListedTrack:
    """One stream. Times of packets count in `time_base`, in the order of the file; digests are 64 bits each."""

    index: int
    kind: str  # as `KeptStream.kind`: video, audio, subtitle, data, attachment, cover
    codec: str
    metadata: dict[str, str]
    disposition: Disposition
    time_base: Fraction
    size: tuple[int, int] = (0, 0)  # of pictures
    unfinished: bytes = b""  # of a Blu-ray subtitle, until its end comes
    digests: array[int] = field(default_factory=lambda: array("Q"))
    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    own: array[int] = field(default_factory=lambda: array("q"))  # pts as the file has them, joined or not
    own_dts: array[int] = field(default_factory=lambda: array("q"))
    hidden: array[int] = field(default_factory=lambda: array("b"))  # whether an edit list cuts them away
    samples: Any = field(default_factory=lambda: blake2b(digest_size=8))  # of PCM, whose packets are cut anywhere
    bytes: array[int] = field(default_factory=lambda: array("q"))  # where in the file they begin, as far as it says

    def __str__(self) -> str:
        return f"{self.kind} {self.index} ({self.codec})"

    @property
    def is_pcm(self) -> bool:
        """Whether it is sound without any compression."""
        return self.codec.startswith("pcm_")

    @property
    def times(self) -> list[int]:
        """The pts of all packets that have one."""
        return [pts for pts in self.pts if pts != NO_TIME]

    @property
    def first(self) -> Fraction | None:
        """The earliest pts, in seconds."""
        return min(self.times) * self.time_base if self.times else None


@dataclass(frozen=True, slots=True)
class Chapter:
    """Times in seconds."""

    start: Fraction
    end: Fraction
    title: str
    grain: Fraction  # of the times


@dataclass(frozen=True, slots=True)
class Inventory:
    """A file without its pictures' samples. `error` says why the rest of it could not be read."""

    path: Path
    container: str  # a key of CONTAINERS, or FFmpeg's name
    metadata: dict[str, str]
    chapters: tuple[Chapter, ...]
    tracks: tuple[ListedTrack, ...]
    error: str | None = None
    joints: Joints = ()


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which track of an output holds which of the source. `missing` has a track that should be there and is not."""

    picture: ListedTrack | None
    kept: tuple[tuple[KeptStream, ListedTrack, ListedTrack], ...]  # how, source, output
    rewritten: tuple[KeptStream, ...]
    dropped: tuple[Dropped, ...]
    missing: tuple[tuple[KeptStream, ListedTrack], ...]
    extra: tuple[ListedTrack, ...]
    own_chapters: bool = False  # whether the output has the source's own section of them


_OF_PACKETS = ("digests", "pts", "dts", "durations", "own", "own_dts", "hidden", "bytes")
"""Fields of a track that have a value for each packet."""


def take_inventory(path: Path, joints: Joints = ()) -> Inventory:
    """Read all packets of `path`, decoding none; times go on behind its `joints`.

    Raises:
        MediaError: it cannot be opened.
    """
    with open_input(path) as opened:
        tracks = [_track(stream) for stream in opened.streams]
        exact = head_of(path).languages
        for track in tracks:
            track.metadata |= {"language_ietf": exact[track.index]} if track.index in exact else {}
        error, clock = None, OneClock(joints)
        try:
            for packet in demux(opened, *opened.streams):
                own = packet.pts, packet.dts
                clock(packet)
                _add(tracks[packet.stream_index], packet, own)
        except av.FFmpegError as why:
            error = str(why.strerror)
        found = tuple(_chapters(opened))
        container = _container(path, opened)
        return Inventory(path, container, tags(opened, path), found, tuple(tracks), error, joints)


def pair(source: Inventory, picture: int, output: Inventory) -> Pairing:
    """Find the tracks of `source` in `output`: by their packets, then by kind and order. `picture` is upscaled."""
    own = head_of(source.path).chapters
    whole = own is not None and own == head_of(output.path).chapters
    kept, dropped = decide(source.path, picture, output.container, whole=whole)
    left = list(output.tracks)
    found: dict[int, ListedTrack] = {}
    made = [item for item in kept if item.how != "rewritten"]
    todo = [(item, _heard(item, source.tracks[item.index], output.container)) for item in made]
    for item, track in todo:
        same = (t for t in left if len(t.digests) and t.digests == track.digests and _fits(item, t))
        _claim(found, left, item, next(same, None))
    shown = [track for track in left if track.kind == "video"]
    target = max(shown, key=lambda track: track.size[0] * track.size[1], default=None)
    if target is not None:
        left.remove(target)
    for strict in (True, False):
        for item, track in todo:
            if item.index not in found:
                fitting = (t for t in left if _fits(item, t) and (not strict or _same_name(item, track, t)))
                _claim(found, left, item, next(fitting, None))
    return Pairing(
        picture=target,
        kept=tuple((item, track, found[item.index]) for item, track in todo if item.index in found),
        rewritten=tuple(item for item in kept if item.how == "rewritten"),
        dropped=tuple(dropped),
        missing=tuple((item, track) for item, track in todo if item.index not in found),
        extra=tuple(track for track in left if not _is_rebuilt(track)),
        own_chapters=whole,
    )


def _heard(item: KeptStream, track: ListedTrack, container: str) -> ListedTrack:
    """The track without the hidden sound that its output in `container` leaves out."""
    if container not in CONTAINERS or track.kind != "audio" or not any(track.hidden):
        return track
    length = Fraction(0) if item.how == "encoded" else preroll(CONTAINERS[container])
    out = unneeded(zip(track.pts, map(bool, track.hidden), strict=True), length / track.time_base)

    def left(numbers: array[int]) -> Any:
        return array(numbers.typecode, (value for place, value in enumerate(numbers) if place not in out))

    return replace(track, **{name: left(getattr(track, name)) for name in _OF_PACKETS})


def _claim(found: dict[int, ListedTrack], left: list[ListedTrack], item: KeptStream, track: ListedTrack | None) -> None:
    if track is not None:
        found[item.index] = track
        left.remove(track)


def _fits(item: KeptStream, track: ListedTrack) -> bool:
    """Whether `track` may be what became of `item`."""
    if item.how == "attached" or item.kind == "cover":
        return track.kind in ("cover", "attachment")
    return track.kind == item.kind


def _same_name(item: KeptStream, source: ListedTrack, output: ListedTrack) -> bool:
    def name(track: ListedTrack) -> tuple[str | None, ...]:
        return tuple(track.metadata.get(key) for key in ("language", "title", "filename"))

    return name(source) == name(output) and (item.encoder is not None or source.codec == output.codec)


def _is_rebuilt(track: ListedTrack) -> bool:
    """The tracks that the mp4 and mov muxers add for timecode and chapters."""
    return track.kind == "data" and ("timecode" in track.metadata or track.codec in ("bin_data", "none"))


def _track(stream: Stream) -> ListedTrack:
    context = stream.codec_context
    track = ListedTrack(
        index=stream.index,
        kind="cover" if is_cover(stream) else stream.type if stream.type != "unknown" else "data",
        codec=codec_name(stream),
        metadata=dict(stream.metadata) if stream.type == "attachment" else own_metadata(stream),
        disposition=stream.disposition,
        time_base=stream.time_base or Fraction(1),
        size=(context.width, context.height) if isinstance(context, VideoCodecContext) else (0, 0),
    )
    if isinstance(stream, AttachmentStream):
        track.digests.append(_digest(bytes(stream.data)))
    return track


def _add(track: ListedTrack, packet: Packet[Stream], own: tuple[int | None, int | None]) -> None:
    if not packet.size and (packet.pts is None or track.kind != "subtitle"):
        return
    data = bytes(packet)
    if track.unfinished:  # Matroska has in one packet what others have in several
        track.unfinished += data
        track.digests[-1] = _digest(track.unfinished)
        track.unfinished = b"" if data.endswith(_PGS_END) else track.unfinished
        return
    if track.codec == "mov_text" and data == _NO_TEXT:
        return
    track.pts.append(NO_TIME if packet.pts is None else packet.pts)
    track.dts.append(NO_TIME if packet.dts is None else packet.dts)
    track.unfinished = data if track.codec == _PGS and not data.endswith(_PGS_END) else b""
    for times, ticks in ((track.own, own[0]), (track.own_dts, own[1])):
        times.append(NO_TIME if ticks is None else ticks)
    track.hidden.append(packet.is_discard)
    known = packet.pos is not None and packet.pos >= 0
    track.bytes.append(packet.pos or 0 if known else track.bytes[-1] if track.bytes else 0)
    track.durations.append(packet.duration or 0)
    if track.is_pcm:
        track.samples.update(data)
    track.digests.append(_digest(_without_adts(data) if track.codec == "aac" else data))


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def _without_adts(data: bytes) -> bytes:
    """AAC without the header that transport streams put before it (ISO/IEC 13818-7, 6.2)."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return data
    length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    return data[7 if data[1] & 1 else 9 :] if length == len(data) else data


def _chapters(opened: InputContainer) -> Iterable[Chapter]:
    for chapter in opened.chapters():
        base = chapter["time_base"] or Fraction(1)
        title = str(chapter["metadata"].get("title", ""))
        yield Chapter(chapter["start"] * base, chapter["end"] * base, title, base)


def _container(path: Path, opened: InputContainer) -> str:
    found = recognised(opened.format.name, path, opened.metadata)
    return found.name if found else opened.format.name.split(",")[0]
