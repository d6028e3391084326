"""One stream of the source on its way into the output: copied as packets, or made anew as text or sound."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet, PktSideDataT
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.video.stream import VideoStream

from vidsr.media.containers import Container
from vidsr.media.mux.hidden import preroll, unneeded
from vidsr.media.mux.sound import SoundTrack, is_named, layout_of, named_layout
from vidsr.media.mux.streams import KeptStream, codec_name, is_cover
from vidsr.media.mux.timecode import fitting_rate, timecode_of
from vidsr.media.mux.timed_text import OneAtATime, TextLine
from vidsr.media.pyav import with_data
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.programs import is_teletext
from vidsr.media.read.tags import comments
from vidsr.media.read.webvtt import as_webm, is_webvtt, text_decoder

AnyPacket: TypeAlias = "Packet[Stream]"
_JUMP = Fraction(1)  # seconds
_FINE = 9_000  # steps a second: fewer than the clock of sound with several packets a millisecond has in mp4
_NEW_HEADER: PktSideDataT = "new_extradata"  # Matroska's muxer breaks its own header for it: at joints of FLV, for one
_NAMED_AS_IN_AVI = ("matroska", "avi", "asf")  # containers that name codecs by those four letters
_LENDERS = {"audio": "aac", "video": "mpeg4"}  # kinds that Matroska takes under other names, and a codec of each
UNKNOWN_LENGTH = Fraction(5)  # seconds: for so long a line of text is shown whose source does not say
_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""  # of subtitles that come without one: an encoder without any writes a track that makes the file unreadable


class Track(Protocol):
    """Takes the source's packets of one stream, gives those of the output. Time is moved by the track's shift."""

    @property
    def target(self) -> Stream:
        """The stream of the output."""

    def take(self, packet: AnyPacket) -> Iterable[AnyPacket]:
        """Packets to write, in order."""

    def flush(self) -> Iterable[AnyPacket]:
        """What is left once the source has ended."""


def add_track(out: OutputContainer, container: Container, stream: Stream, plan: KeptStream, shift: Fraction) -> Track:
    """Add to `out`, a `container`, what `plan` says of `stream`; all its times move by `shift` seconds."""
    if plan.how == "converted" and plan.encoder:
        return TextTrack(out, stream, plan.encoder, round(shift / stream.time_base) if stream.time_base else 0)
    if plan.how == "encoded" and container.sound is not None:
        track = SoundTrack(out, stream, *container.sound, plan.layout or "stereo", shift)
        describe(track.target, stream)
        return track
    return CopiedTrack(out, stream, shift, container, plan.header if container.ebml or container.boxes else b"")


class CopiedTrack:
    """Packets as they are.

    Decode times that do not rise, which muxers refuse, are raised by a step (`steps`). Where they fall back by more
    than `_JUMP`, as where two recordings were joined, the rest of the stream follows what came before. Sound that an
    edit list hides is left out, but for what decoders need to begin; `container` may hide more that comes before it.
    `header` is written where the stream begins; that of AAC, whose packets have one each, is taken off them.
    """

    def __init__(
        self, out: OutputContainer, stream: Stream, shift: Fraction, container: Container, header: bytes = b""
    ) -> None:
        self.target = add_like(out, stream)
        self._bare = None
        if header:
            self.target.codec_context.extradata = header
            self._bare = av.BitStreamFilterContext("aac_adtstoasc", stream) if codec_name(stream) == "aac" else None
        describe(self.target, stream)
        if container.stream_ids:
            self.target.id = stream.id
        if isinstance(self.target, VideoStream) and isinstance(stream, VideoStream):
            self._tell_rate(self.target, stream, container)
        if isinstance(self.target, AudioStream) and container.boxes:
            name_channels(self.target, stream)
        self._webvtt = is_webvtt(stream)
        self._timeless, self._ebml = is_cover(stream), container.ebml
        self._step = 0 if stream.type in ("subtitle", "data") else 1  # two of these may share a time
        self._finer = steps(stream.type, stream.time_base) if stream.time_base else 1
        self._ticks = round(shift / stream.time_base * self._finer) if stream.time_base else 0
        self._jump = math.ceil(_JUMP / stream.time_base) * self._finer if stream.time_base else 0
        self._last: int | None = None
        self._end = 0  # of the packet before
        self._says_length = container.boxes and stream.type == "audio"
        self._preroll = preroll(container) if stream.type == "audio" else None
        self._held: list[AnyPacket] = []  # hidden ones before the first that is heard: demuxers give a second or so
        self._begun = False

    def _tell_rate(self, target: VideoStream, stream: VideoStream, container: Container) -> None:
        """Matroska's muxer writes it, or one tick; mov and mp4 count timecodes by it."""
        text = timecode_of(stream.metadata)
        rate = fitting_rate(text, stream.average_rate) if text else None
        if container.ebml:
            rate = rate or stream.average_rate
        if rate is not None:
            target.codec_context.framerate = rate

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """The same packet, at its new time, behind hidden ones that it needs."""
        if self._preroll is None or packet.pts is None or not packet.time_base:
            yield self._moved(packet)
        elif packet.is_discard:
            self._held += [] if self._begun else [packet]
        else:
            told = [(p.pts or 0, p.is_discard) for p in (*self._held, packet)]
            out = unneeded(told, self._preroll / packet.time_base)
            yield from (self._moved(p) for n, p in enumerate((*self._held, packet)) if n not in out)
            self._held.clear()
            self._begun = True

    def _moved(self, packet: AnyPacket) -> AnyPacket:
        if self._bare is not None:
            (packet,) = self._bare.filter(packet)
        if self._webvtt:
            packet = as_webm(packet)
        if self._ebml and packet.has_sidedata(_NEW_HEADER):
            packet = _without(packet, _NEW_HEADER)
        packet.stream = self.target
        if not self._timeless:
            _divide(packet, self._finer)
            pts = packet.pts if packet.pts is not None else packet.dts
            dts = packet.dts if packet.dts is not None else pts
            if pts is None or dts is None:
                pts = dts = self._end - self._ticks
            if self._last is not None and dts + self._ticks < self._last - self._jump:
                self._ticks = self._end - dts
            before, lowest = self._last, dts + self._ticks if self._last is None else self._last + self._step
            self._last = max(dts + self._ticks, lowest)
            packet.pts, packet.dts = max(pts + self._ticks, self._last), self._last
            self._end = self._last + (packet.duration or 0)
            if self._says_length and not packet.duration and before is not None:
                packet.duration = self._last - before  # without one the last would be cut off
        return packet

    def flush(self) -> Iterable[AnyPacket]:
        """Nothing."""
        return ()


def steps(kind: str, clock: Fraction) -> int:
    """In how many steps a tick is cut by which times are raised that a coarse clock gives to several packets of sound.

    TrueHD has 1200 packets a second: by whole milliseconds it would be 0.2 s late after a second.
    """
    return max(int(clock * _FINE), 1) if kind == "audio" else 1


def _divide(packet: AnyPacket, finer: int) -> None:
    """Count the times of `packet` in a clock that is `finer` times as fine."""
    if finer > 1 and packet.time_base:
        pts, dts, length, base = packet.pts, packet.dts, packet.duration, packet.time_base
        packet.time_base = base / finer
        packet.pts, packet.dts = (None if time is None else time * finer for time in (pts, dts))
        packet.duration = (length or 0) * finer


class TextTrack:
    """Text subtitles in another notation: the words and their times stay, most styling goes."""

    def __init__(self, out: OutputContainer, stream: Stream, encoder: str, ticks: int) -> None:
        self._source, self._ticks = stream, ticks
        self._decoder = text_decoder(stream)
        self._decoder.open(strict=False)
        self.target = out.add_stream(encoder)
        self._encoder = cast(SubtitleCodecContext, self.target.codec_context)
        self._encoder.subtitle_header = self._decoder.subtitle_header or _ASS_HEADER
        self.target.time_base = Fraction(1, 1000)
        self._base = stream.time_base or Fraction(1, 1000)
        self._lines = OneAtATime() if encoder == "mov_text" else None
        describe(self.target, stream)

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """The line, or nothing where the packet only ends the one before."""
        shown = self._decoder.decode2(packet)
        if shown is None or not len(shown) or packet.pts is None:
            return
        begin = packet.pts + self._ticks
        length = packet.duration or math.ceil(UNKNOWN_LENGTH / self._base)
        line = TextLine(begin, begin + length, bytes(self._encoder.encode_subtitle(shown)))
        yield from map(self._packet, [line] if self._lines is None else self._lines.add(line))

    def until(self, seconds: float) -> Iterator[AnyPacket]:
        """What was held back and is over by then, so that it does not stand far from its time in the file."""
        if self._lines is not None:
            yield from map(self._packet, self._lines.until(seconds / float(self._base)))

    def flush(self) -> Iterator[AnyPacket]:
        """What was held back."""
        if self._lines is not None:
            yield from map(self._packet, self._lines.flush())

    def _packet(self, line: TextLine) -> AnyPacket:
        packet: AnyPacket = Packet(line.sample)
        packet.stream, packet.time_base = self.target, self._base
        packet.pts = packet.dts = line.begin
        packet.duration = line.end - line.begin
        return packet


def _without(packet: AnyPacket, kind: PktSideDataT) -> AnyPacket:
    """A copy of `packet` without side data of this kind."""
    made = with_data(packet, bytes(packet))
    for item in packet.iter_sidedata():
        if item.data_type != kind:
            made.set_sidedata(item)
    return made


def attach_cover(out: OutputContainer, path: Path, index: int) -> None:
    """Add stream `index` of the file `path`, a still, to `out` as an attachment: cover art as Matroska has it."""
    with open_input(path) as source:
        stream = source.streams[index]
        packet = next((p for p in demux(source, stream) if p.size), None)
        if packet is not None:
            kind = "png" if codec_name(stream) == "png" else "jpeg"
            name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
            out.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), bytes(packet))


def add_like(out: OutputContainer, stream: Stream) -> Stream:
    """Add a stream to `out` that takes the packets of `stream` as they are.

    PyAV refuses codecs that FFmpeg's muxer writes in Matroska under their names in AVI, and forgets those names, which
    tell the layout of some. A filter that does nothing has the same parameters at both ends, and hands them over.

    Raises:
        ValueError: it has no codec.
        av.FFmpegError: FFmpeg refuses it.
    """
    named = any(name in _NAMED_AS_IN_AVI for name in stream.container.format.name.split(","))
    try:
        if not (named and codec_name(stream) == "rawvideo" and "matroska" in out.format.name):
            target = out.add_stream_from_template(stream, opaque=True)
            keep_kind(target, stream)
            return target
    except ValueError:
        if is_webvtt(stream):
            target = out.add_mux_stream("webvtt")
            target.time_base = stream.time_base or Fraction(1, 1000)
            return target
        if is_teletext(stream):
            target = out.add_mux_stream("dvb_teletext")
            av.BitStreamFilterContext("null", stream, target)  # hands over its pages, beside their languages
            target.time_base = stream.time_base or Fraction(1, 90000)
            return target
        if stream.type not in _LENDERS or stream.codec_context is None:
            raise
    with av.open(io.BytesIO(), "w", format="matroska") as other:
        target = out.add_stream_from_template(other.add_stream(_LENDERS[stream.type]), opaque=True)
    av.BitStreamFilterContext("null", stream, target)
    if not named:
        target.codec_context.codec_tag = "\0\0\0\0"  # the muxer's own
    if stream.time_base:
        target.time_base = stream.time_base
    return target


def keep_kind(target: Stream, source: Stream) -> None:
    """Tell which of the kinds of ProRes it is: only its tag says so, which PyAV forgets, and muxers then say "HQ"."""
    if codec_name(source) == "prores":
        target.codec_context.codec_tag = source.codec_context.codec_tag


def name_channels(target: AudioStream, stream: Stream) -> None:
    """Of PCM, whose channels mp4 and mov have to name, give those without names the usual ones."""
    context = cast(AudioCodecContext, stream.codec_context)
    layout = layout_of(context)
    if codec_name(stream).startswith("pcm_") and not is_named(layout.name):
        name = named_layout(context)
        if AudioLayout(name).nb_channels == layout.nb_channels:
            target.codec_context.layout = name


def describe(target: Stream, source: Stream) -> None:
    """Language, title and the like, and disposition, as the source has them."""
    target.metadata.update(own_metadata(source))
    target.disposition = source.disposition


def own_metadata(stream: Stream) -> dict[str, str]:
    """Metadata of a stream without what the muxers write themselves or a copy makes untrue.

    FFmpeg reads the title of a track in mp4 and mov as its "name", but writes only a "title".
    """
    untrue = ("encoder", "duration", "bps", "number_of_", "_statistics_", "vendor_id", "alpha_mode")
    films = comments(stream.container).items()
    said = [item for item in stream.metadata.items() if item not in films]
    found = {key: value for key, value in said if not key.lower().startswith(untrue)}
    return {"title" if key == "name" and "title" not in found else key: value for key, value in found.items()}
