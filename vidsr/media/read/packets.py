"""The packets of one segment, to be decoded in another process: cut from a file, or made from pictures.

Packets travel as they are stored, with those from the last keyframe but one before the segment on, which streams with
open groups or intra refresh need. Where that would not give the pictures that `Reader` gives, pictures travel instead,
in a lossless codec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

import av
from av.packet import PktSideDataT
from av.stream import Discard, Stream
from av.video.codeccontext import VideoCodecContext

from vidsr.frame import NOTHING_INSIDE, Colour, Frame, Inside, Plane
from vidsr.media.inside import inside_of, may_hold
from vidsr.media.pyav import VideoPacket, new_side_data, picture_stream
from vidsr.media.read.changes import Aspects, Changes
from vidsr.media.read.intra_refresh import decodes_alone
from vidsr.media.read.joints import OneClock, joints_of
from vidsr.media.read.open import crop_exactly, demux, open_input
from vidsr.media.read.pixels import Unpacker, framed, planes_of
from vidsr.media.read.probe import MediaInfo, Video
from vidsr.media.read.truncation import missing_end

BEFORE, BEHIND = -1, sys.maxsize  # intervals of what is not wanted
SHIPPED = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg2video")  # codecs that need nothing but packets and extradata
REORDER = 34  # no packet is decoded more places after its turn to be shown: 16 pictures of two fields, and two more
MAX_PREROLL = 1500  # packets before a segment; of a film with one keyframe, pictures are shipped

_SIDE_DATA = get_args(PktSideDataT)


class Irregular(Exception):  # noqa: N818  (no failure: another way is taken)
    """From `interval` on, packets alone may not give the pictures that `Reader` gives."""

    def __init__(self, interval: int, reason: str) -> None:
        super().__init__(reason)
        self.interval = interval


class Unsound(Exception):  # noqa: N818  (no failure: `Reader` decides what is wrong)
    """The packets of a shipment did not decode to the pictures that were expected."""


@dataclass(frozen=True, slots=True)
class PackedDecoder:
    """What opens a decoder besides packets. `reorder` is its delay in pictures; `pix_fmt` where it must be told."""

    name: str
    extradata: bytes
    reorder: int
    width: int
    height: int
    pix_fmt: str | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A packet as data that can be pickled; `side` are its side data by FFmpeg's number."""

    data: bytes
    pts: int
    dts: int | None
    duration: int
    keyframe: bool
    side: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Shipment:
    """A segment's packets in decoding order, with what must be decoded before them.

    `expected` are the pts of the segment's pictures, rising, in the stream's time base, with those of their neighbours:
    the first `num_before` and the last `num_behind` are aside. `colours` and `insides` are those of pictures that were
    decoded and cropped before they were packed; None: packets are as the file has them.
    """

    interval: int
    decoder: PackedDecoder
    packets: tuple[Packed, ...]
    expected: tuple[int, ...]
    colours: tuple[Colour, ...] | None = None
    insides: tuple[Inside, ...] | None = None
    time_base: Fraction | None = None  # of pictures that were made progressive, where it is not the stream's
    num_before: int = 0
    num_behind: int = 0

    @property
    def nbytes(self) -> int:
        """Of all packets."""
        return sum(len(packet.data) for packet in self.packets)


def can_cut(info: MediaInfo) -> bool:
    """Whether `cut` may be tried: other sources are shipped as pictures."""
    video = info.video
    return video.codec in SHIPPED and "ALPHA" not in video.extras and info.container not in ("avi", "image2")


def cut(
    info: MediaInfo, interval_of: Callable[[int], int], done: Container[int], *, reach: int = 0
) -> Iterator[Shipment]:
    """The segments of `info` but for those that are `done`, in order. Reads the file once, and decodes nothing.

    Each has up to `reach` neighbours on either side.

    `interval_of` tells a pts' segment, or `BEFORE` or `BEHIND` the part that is wanted; it never falls.

    Raises:
        Irregular: damage, times that are missing or run backwards, too few keyframes.
        MediaError: the file cannot be opened.
    """
    with open_input(info.path) as container:
        stream = picture_stream(container, info.video.index)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        cutter = _Cutter(stream.codec_context, interval_of, done, reach)
        joints = joints_of(info.path, info.container, info.video.index)
        try:
            with closing(demux(container, stream, clock=OneClock(joints))) as packets:
                for packet in packets:
                    if packet.size:
                        yield from cutter.take(packet)
                    if cutter.current == BEHIND:
                        return
            if missing := missing_end(info.path, info.container, stream, cutter.last_dts):
                raise Irregular(cutter.current, missing)
        except av.FFmpegError as error:
            raise Irregular(cutter.current, str(error)) from error
        yield from cutter.rest()


def _decoder(context: VideoCodecContext) -> PackedDecoder:
    extradata = bytes(context.extradata or b"")
    return PackedDecoder(context.name, extradata, context.reorder_depth, context.width, context.height)


class _Cutter:
    """Holds the packets from which the `current` segment and those after it are decoded."""

    def __init__(
        self, context: VideoCodecContext, interval_of: Callable[[int], int], done: Container[int], reach: int
    ) -> None:
        self._context, self._decoder = context, _decoder(context)
        self._interval_of, self._done, self._reach = interval_of, done, reach
        self._held: list[tuple[int, bool, Packed]] = []  # interval, whether it is shown, packet
        self._behind = 0  # packets in a row that belong to later segments
        self.current = 0
        self.last_dts: int | None = None

    def take(self, packet: VideoPacket) -> Iterator[Shipment]:
        """Hold `packet`, and yield the segment that is complete with it."""
        self._check(packet)
        packed = _pack(packet)
        interval = self._interval_of(packed.pts)
        if BEFORE < interval < self.current:
            raise Irregular(self.current, "times run backwards")
        self._held.append((interval, not packet.is_discard, packed))
        self._behind = self._behind + 1 if interval > self.current else 0
        if packed.keyframe and interval == BEFORE:
            self._forget(packed.pts)
        if self._behind >= REORDER + self._reach:
            yield from self._finish()

    def rest(self) -> Iterator[Shipment]:
        """The segments that are complete because the file ends."""
        while self.current != BEHIND:
            yield from self._finish()

    def _check(self, packet: VideoPacket) -> None:
        if packet.pts is None or packet.is_corrupt:
            raise Irregular(self.current, "a packet is damaged, or has no time")
        if not self._held and not packet.is_keyframe:
            raise Irregular(self.current, "the stream begins without a keyframe")
        if packet.is_keyframe and not decodes_alone(self._context, packet):
            raise Irregular(self.current, "its keyframes are none: intra refresh")
        if packet.dts is not None:
            if self.last_dts is not None and packet.dts < self.last_dts:
                raise Irregular(self.current, "times run backwards")
            self.last_dts = packet.dts

    def _finish(self) -> Iterator[Shipment]:
        """Yield the current segment, if there is anything of it, and go on to the next."""
        own = sorted(packed.pts for number, shown, packed in self._held if shown and number == self.current)
        if own and self.current not in self._done:
            preroll = next(k for k, (number, _, _) in enumerate(self._held) if number == self.current)
            times = sorted(packed.pts for _, shown, packed in self._held if shown)
            first, last = times.index(own[0]), times.index(own[-1])
            begin, end = max(first - self._reach, 0), last + 1 + self._reach
            expected = times[begin:end]
            if preroll > MAX_PREROLL or len(set(expected)) < len(expected) or times[first : last + 1] != own:
                raise Irregular(self.current, "too few keyframes, or a time comes twice")
            packets = tuple(packed for _, _, packed in self._held)
            num_before, num_behind = first - begin, len(expected) - (last + 1 - begin)
            yield Shipment(
                self.current, self._decoder, packets, tuple(expected), num_before=num_before, num_behind=num_behind
            )
        later = [number for number, _, _ in self._held if number > self.current]
        self.current = min(later, default=BEHIND)
        self._behind = sum(number > self.current for number in later)  # at most: a few packets more are shipped
        self._forget(min((p.pts for number, _, p in self._held if number == self.current), default=None))

    def _forget(self, first: int | None) -> None:
        """Drop what comes before the last keyframe but one that is not later than `first`, or than its neighbours."""
        if self._reach and first is not None:
            earlier = sorted(p.pts for _, shown, p in self._held if shown and p.pts < first)[-self._reach :]
            first = earlier[0] if len(earlier) == self._reach else None
        keys = [k for k, (_, _, p) in enumerate(self._held) if p.keyframe and first is not None and p.pts <= first]
        if len(keys) > 1:
            del self._held[: keys[-2]]


def _pack(packet: VideoPacket) -> Packed:
    assert packet.pts is not None
    side = tuple((_SIDE_DATA.index(item.data_type), bytes(item)) for item in packet.iter_sidedata())
    return Packed(bytes(packet), packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, side)


def unpack(shipment: Shipment, video: Video, *, scan: bool = True) -> Iterator[Frame]:
    """The pictures of `shipment`, as `Reader` would yield them. `scan`: it would make those progressive that say so.

    Raises:
        Unsound: they are not the pictures that are expected.
    """
    look = _Look(shipment, video, scan=scan)
    wanted = iter(shipment.expected)
    context = _open(shipment.decoder)
    number, clock = 0, shipment.time_base or video.time_base
    for picture in _decoded(context, shipment.packets, clock, look.aspects):
        if picture.pts is None or picture.pts < shipment.expected[0]:
            continue
        if picture.pts > shipment.expected[-1]:
            break
        if picture.is_corrupt or picture.pts != next(wanted, None):
            raise Unsound(f"the picture at {picture.pts} is damaged, or not the one that was expected")
        number += 1
        planes, colour = look(picture, picture.pts, number - 1)
        inside = look.inside(picture, number - 1)
        aside = not shipment.num_before < number <= len(shipment.expected) - shipment.num_behind
        yield Frame(planes, video.format, colour, picture.pts, clock, picture.duration, inside, aside)
    if number != len(shipment.expected):
        raise Unsound(f"{number} of {len(shipment.expected)} pictures decoded")


class _Look:
    """What a picture of a shipment is to be seen as."""

    def __init__(self, shipment: Shipment, video: Video, *, scan: bool) -> None:
        self.aspects = Aspects(video)
        self._video, self._scan, self._colours, self._insides = video, scan, shipment.colours, shipment.insides
        self._holds = any(packed.side or may_hold(video, packed.data) for packed in shipment.packets)
        self._changes, self._unpack = Changes(video, str), Unpacker(video.format)

    def __call__(self, picture: av.VideoFrame, pts: int, number: int) -> tuple[tuple[Plane, ...], Colour]:
        """The planes and the colour of `picture`, the segment's `number`-th from 0."""
        video, size = self._video, (picture.width, picture.height)
        planes = planes_of(self._unpack(picture), video.format)
        if self._colours is not None:
            return planes, self._colours[number]
        if size != video.stored or self._changes.fit(picture, self.aspects.of(pts), pts) != size:
            raise Unsound("the pictures change their shape")
        if self._scan and picture.interlaced_frame:
            raise Unsound("pictures are interlaced")
        colour = self._changes.colour(picture, pts)
        return framed(planes, video.format, size, video.crop, colour), colour

    def inside(self, picture: av.VideoFrame, number: int) -> Inside:
        """What stands in it beside its samples."""
        if self._insides is not None:
            return self._insides[number]
        return inside_of(picture) if self._holds else NOTHING_INSIDE


def _open(decoder: PackedDecoder) -> VideoCodecContext:
    context = av.CodecContext.create(decoder.name, "r")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = decoder.width, decoder.height
    context.extradata = decoder.extradata or None
    context.reorder_depth = decoder.reorder
    if decoder.pix_fmt is not None:
        context.pix_fmt = decoder.pix_fmt
    context.thread_count, context.thread_type = 1, "SLICE"  # as `Reader`
    crop_exactly(context)
    if decoder.name == "libdav1d":
        context.options = {**context.options, "max_frame_delay": "1"}
    return context


def _decoded(
    context: VideoCodecContext, packets: Sequence[Packed], time_base: Fraction, aspects: Aspects
) -> Iterator[av.VideoFrame]:
    try:
        for packed in packets:
            pictures = context.decode(_unpacked(packed, time_base))
            aspects.decoded(packed.pts, context.sample_aspect_ratio)
            yield from pictures
        yield from context.decode(None)
    except av.FFmpegError as error:
        raise Unsound(str(error)) from error


def _unpacked(packed: Packed, time_base: Fraction) -> av.Packet[Stream]:
    packet = av.Packet(packed.data)
    packet.pts, packet.dts, packet.duration = packed.pts, packed.dts, packed.duration
    packet.is_keyframe, packet.time_base = packed.keyframe, time_base
    for kind, data in packed.side:
        made = new_side_data(kind, len(data))
        made.update(data)
        packet.set_sidedata(made)
    return packet
