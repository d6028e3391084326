"""Sound that is encoded again: in which arrangement of channels, and the track that does it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cache
from typing import TypeAlias, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from vidsr.media.mux.steady import Steady

AnyPacket: TypeAlias = "Packet[Stream]"
PRIMING = 1024  # samples that FFmpeg's AAC encoder puts before what is heard
_LOWEST = 8000  # samples a second: below, AAC takes rates that few players do
_COMMON = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
"""For each number of channels the arrangement that they are taken for without names, and that encoders take."""
_UNNAMED = "channels"  # in FFmpeg's name of an arrangement that has none: "2 channels", "3 channels (FL+FR+BC)"


def layout_of(holder: AudioCodecContext | AudioFrame) -> AudioLayout:
    """The arrangement of channels of `holder`; read it, and their number, in no other way.

    PyAV frees the list of channels of an arrangement of a file's own together with the object that it hands out,
    although `holder` still has it, and then `holder` frees it again: such an object is never freed.
    """
    layout = holder.layout
    if isinstance(holder, AudioCodecContext) or not is_named(layout.name):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return layout


def is_named(name: str) -> bool:
    """Whether it is the name of an arrangement that all programs know."""
    return _UNNAMED not in name and not name.startswith("ambisonic")


def named_layout(context: AudioCodecContext) -> str:
    """The arrangement of a source by its name, or what its number of channels is usually taken for."""
    layout = layout_of(context)
    if is_named(layout.name):
        return layout.name
    return _COMMON[min(max(layout.nb_channels, 1), len(_COMMON)) - 1]


def settle_layout(context: AudioCodecContext) -> str:
    """Name the arrangement of a decoder that is not open yet, so that its frames have it, too; the name."""
    name, own = named_layout(context), layout_of(context)
    if not context.is_open and own.nb_channels == AudioLayout(name).nb_channels:
        context.layout = name  # FFmpeg's list of the same channels, which PyAV may free
    return name


def encoded_layout(name: str, encoder: str) -> str:
    """`name`, or the arrangement that is nearest to it of those that `encoder` takes."""
    if _takes(encoder, name):
        return name
    wanted = _places(name)

    def cost(other: str) -> tuple[int, int]:
        found = _places(other)
        return len(wanted - found), len(found)

    return min((other for other in _COMMON if _takes(encoder, other)), key=cost, default="stereo")


@cache
def _takes(encoder: str, layout: str) -> bool:
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, AudioCodecContext)
    codec = av.Codec(encoder, "w")
    context.format = (codec.audio_formats or [av.AudioFormat("flt")])[0]
    context.layout, context.time_base = layout, Fraction(1, 48000)
    context.sample_rate = max(codec.audio_rates or [48000])
    try:
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def encoded_rate(rate: int, encoder: str) -> int:
    """`rate`, in samples a second, or the next above it that `encoder` takes."""
    rates = [other for other in av.Codec(encoder, "w").audio_rates or [rate] if other >= _LOWEST]
    return min((other for other in rates if other >= rate), default=max(rates))


def _places(layout: str) -> frozenset[str]:
    """Where its loudspeakers stand; those at the side count as behind where nothing else is behind."""
    names = {channel.name for channel in AudioLayout(layout).channels}
    if not names & {"BL", "BR"}:
        names = {{"SL": "BL", "SR": "BR"}.get(name, name) for name in names}
    return frozenset(names)


class SoundTrack:
    """Sound encoded again, at the source's rate or the next that the codec has, its times kept.

    `layout` is the arrangement of channels that it gets, from beginning to end: `notes` says where the source's
    changes.
    """

    def __init__(
        self, out: OutputContainer, stream: Stream, encoder: str, bits: int, layout: str, shift: Fraction
    ) -> None:
        source = cast(AudioCodecContext, stream.codec_context)
        settle_layout(source)
        rate = encoded_rate(source.sample_rate, encoder)
        self.notes: list[str] = []
        self._source, self._shift = cast(AudioStream, stream), shift
        self.target = cast(AudioStream, out.add_stream(encoder, rate=rate))
        self._layout = layout
        context = self.target.codec_context
        context.layout = layout
        context.bit_rate = bits * AudioLayout(layout).nb_channels
        self._resampler: av.AudioResampler | None = None
        self._steady = Steady()
        self._last: tuple[str, str, int] | None = None  # format, arrangement and rate of the frame before

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Whatever the encoder has ready."""
        if not packet.size:
            return  # it would end the decoding
        for frame in self._source.decode(packet):
            yield from self._convert(frame)

    def flush(self) -> Iterator[AnyPacket]:
        """The rest of decoder, resampler and encoder."""
        with suppress(av.InvalidDataError):  # of a damaged end
            for frame in self._source.decode(None):
                yield from self._convert(frame)
        yield from self._resampled(None)
        yield from cast(list[AnyPacket], self.target.encode(None))

    def _convert(self, frame: AudioFrame) -> Iterator[AnyPacket]:
        if frame.pts is not None and frame.time_base:  # whose tick may be a whole block
            time = frame.pts * frame.time_base + self._shift
            frame.pts, frame.time_base = round(time * frame.sample_rate), Fraction(1, frame.sample_rate)
        layout = layout_of(frame)
        found = (frame.format.name, layout.name, frame.sample_rate)
        if self._last is not None and found != self._last:
            yield from self._resampled(None)
            self._resampler = None
            self._note(self._last, found, frame)
        self._last = found
        for steady in self._steady(frame, layout):
            yield from self._resampled(steady)

    def _resampled(self, frame: AudioFrame | None) -> Iterator[AnyPacket]:
        context = self.target.codec_context
        if self._resampler is None:
            self._resampler = av.AudioResampler(context.format, self._layout, context.sample_rate)
        for part in self._resampler.resample(frame):
            yield from cast(list[AnyPacket], self.target.encode(part))

    def _note(self, before: tuple[str, str, int], now: tuple[str, str, int], frame: AudioFrame) -> None:
        words = [f"{name}, {rate} Hz" for _, name, rate in (before, now)]
        if words[0] != words[1] and len(self.notes) < 3:
            at = f" at {float(frame.pts * frame.time_base):.2f} s" if frame.pts is not None and frame.time_base else ""
            kept = f"{self._layout}, {self.target.codec_context.sample_rate} Hz"
            index = self._source.index
            self.notes.append(f"audio {index} changes from {words[0]} to {words[1]}{at}: all of it becomes {kept}")


def change_of_layout(before: str, after: str) -> str:
    """What is said of channels that are arranged in another way; nothing where they are not."""
    same = before == after or (_UNNAMED in before and AudioLayout(after).nb_channels <= 2)
    return "" if same else f"; its channels, {before}, become {after}"
