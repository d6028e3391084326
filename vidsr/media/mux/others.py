"""The streams of a source that are not upscaled, on their way into the output: all packets, or those of a part."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from fractions import Fraction

import av
from av.container import InputContainer

from vidsr.errors import DamagedError
from vidsr.media.mux.sound import SoundTrack
from vidsr.media.mux.tracks import AnyPacket, TextTrack, Track
from vidsr.media.read.joints import OneClock, joints_of
from vidsr.media.read.open import demux
from vidsr.media.read.probe import MediaInfo

_LATE = 10  # seconds between packets of one time in a file

Timed = tuple[float, AnyPacket]  # seconds, packet


def _is_empty(packet: AnyPacket) -> bool:
    """Whether there is nothing to write; a subtitle may show nothing."""
    return packet.size == 0 and (packet.pts is None or packet.stream.type != "subtitle")


class Others:
    """Reads the packets of `source` that lie in `window` (seconds; None: all).

    `keep_going` ends where the source cannot be read, and says so. `filled` are the streams of which something came,
    `num_left_out` the packets that are too damaged to be written.
    """

    def __init__(self, source: MediaInfo, window: tuple[Fraction, Fraction | float] | None, keep_going: bool) -> None:
        self._path, self._window, self._keep_going = source.path, window, keep_going
        self._joints = joints_of(source.path, source.container, source.video.index)
        self._notes: list[str] = []
        self.filled: set[int] = set()
        self.num_left_out = 0

    def notes(self) -> list[str]:
        """What the user should know of them, once all are read."""
        left_out = f"{self.num_left_out} damaged packets of sound or subtitles are left out"
        return self._notes + ([left_out] if self.num_left_out else [])

    def packets(self, opened: InputContainer, tracks: Mapping[int, Track]) -> Generator[Timed, None, None]:
        """The packets of every stream in `tracks`, as its track makes them, in the order of their times."""
        now = -math.inf
        streams = [opened.streams[index] for index in tracks]
        texts = {index: track for index, track in tracks.items() if isinstance(track, TextTrack)}
        if not streams:
            return
        packets = demux(opened, *streams, clock=OneClock(self._joints))
        with closing(packets):  # before its container is: touching it later would crash the process
            for packet in self._readable(packets):
                if _is_empty(packet) or not self._clipped(packet):
                    if self._behind(packet):
                        break
                    continue
                index = packet.stream_index  # a copied packet is one of the output's from here on
                for made in self._sound(tracks[index].take, packet):
                    self.filled.add(index)
                    if made.dts is not None and made.time_base:
                        now = max(now, float(made.dts * made.time_base))
                    yield now, made
                for number, text in texts.items():
                    for made in text.until(now):
                        self.filled.add(number)
                        yield now, made
        for index, track in tracks.items():
            for made in self._sound(track.flush):
                self.filled.add(index)
                yield math.inf, made
        self._notes += [note for track in tracks.values() if isinstance(track, SoundTrack) for note in track.notes]

    def _sound(self, make: Callable[..., Iterable[AnyPacket]], *packet: AnyPacket) -> Iterator[AnyPacket]:
        """What a track makes of `packet`, or of what it still holds, which may have to be decoded; up to damage."""
        try:
            yield from make(*packet)
        except (av.FFmpegError, OverflowError):  # the latter of times that no clock of sound reaches
            self.num_left_out += 1

    def _readable(self, packets: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
        """`packets` up to a place where the source cannot be read."""
        try:
            yield from packets
        except av.FFmpegError as error:
            sentence = f"{self._path} cannot be read to its end ({error.strerror})"
            if not self._keep_going:
                raise DamagedError(f"{sentence}; --keep-going (keep_going=True) copies what comes before.") from error
            self._notes.append(f"{sentence}: sound and subtitles end there")

    def _behind(self, packet: AnyPacket) -> bool:
        """Whether the part that was asked for is over, with room for what is interleaved late."""
        if self._window is None or packet.dts is None or not packet.time_base:
            return False
        return packet.dts * packet.time_base > self._window[1] + _LATE

    def _clipped(self, packet: AnyPacket) -> bool:
        """Whether the packet begins in the part that was asked for; what a subtitle has outside of it is cut off."""
        if self._window is None or packet.pts is None or not packet.time_base:
            return True
        (low, high), base = self._window, packet.time_base
        begin, end = packet.pts * base, (packet.pts + (packet.duration or 0)) * base
        if packet.stream.type == "subtitle" and begin < low < end:
            begin, packet.pts = low, math.ceil(low / base)
            packet.dts, packet.duration = packet.pts, round((end - low) / base)
        if packet.stream.type == "subtitle" and begin < high < end:
            packet.duration = max(math.floor(high / base) - packet.pts, 1)
        return low <= begin < high
