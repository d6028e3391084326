"""The packets of a file's picture stream, from the start or from where a time can be decoded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction

import av
from av.stream import Discard

from vidsr.media.pyav import VideoPacket, picture_stream
from vidsr.media.read.intra_refresh import decodes_alone
from vidsr.media.read.joints import Joints, OneClock
from vidsr.media.read.open import demux, limit_pixels, open_input
from vidsr.media.read.probe import MediaInfo

_SCANNED = ("mpegts", "mpeg", "h264", "hevc", "m4v", "obu", "gif")  # demuxers in which no seek can be relied on


class Feed:
    """Opens `info`'s file. Iterating gives the packets that hold something; after an error it may be iterated again.

    All times are on the one clock that goes through the file's `joints`.

    Raises:
        MediaError: the file cannot be opened.
    """

    def __init__(self, info: MediaInfo, joints: Joints) -> None:
        self._info, self._joints = info, joints
        self._open()

    def _open(self) -> None:
        self._container = open_input(self._info.path)
        self.stream = picture_stream(self._container, self._info.video.index)
        for other in self._container.streams:
            if other.index != self.stream.index:
                other.discard = Discard.all
        limit_pixels(self.stream)
        self._clock = OneClock(self._joints)
        self._demux = self._packets()
        self._pending: list[VideoPacket] = []  # already taken from the demuxer, to be decoded first

    def __iter__(self) -> Iterator[VideoPacket]:
        pending, self._pending = self._pending, []
        yield from pending
        yield from (packet for packet in self._demux if packet.size)

    @property
    def num_joints(self) -> int:
        """Those before the last packet."""
        return self._clock.num_behind.get(self.stream.index, 0)

    def again(self) -> None:
        """Go on where the demuxer has failed."""
        self._demux = self._packets()

    def _packets(self) -> Generator[VideoPacket, None, None]:
        return demux(self._container, self.stream, clock=self._clock)

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._demux.close()  # before the container: touching it afterwards would crash the process
        self._container.close()

    def seek(self, target: Fraction) -> None:
        """Go where decoding gives every picture from `target` (pts) on: one keyframe earlier than seems needed.

        Streams with open groups need the earlier one; those with intra refresh are decoded from the start. Transport
        and program streams are scanned: a seek in them lands after its aim, and where their times run backwards it
        lands anywhere. Nothing that was decoded before is of use afterwards.
        """
        if self._info.container == "avi":
            return  # its times are counted from the first picture
        scanned = self._joints or self._info.container in _SCANNED
        key = None if scanned else self._keyframe(math.floor(target), target)
        if key is not None and key.pts is not None:
            key = self._keyframe(key.pts - 1, target) or self._keyframe(math.floor(target), target)
        if key is not None and not decodes_alone(self.stream.codec_context, key):
            self._reopen()
        elif key is not None:
            self._pending = [key]
        else:
            self._scan(target)

    def _keyframe(self, aim: int, target: Fraction) -> VideoPacket | None:
        """The first packet after a seek to `aim`, if decoding can start there and reach `target`."""
        try:
            self._demux.close()
            self._container.seek(aim, stream=self.stream)
            self._demux = self._packets()
            packet: VideoPacket | None = next((p for p in self._demux if p.size), None)
        except av.FFmpegError:
            return None
        if packet is not None and packet.is_keyframe and packet.pts is not None and packet.pts <= target:
            return packet
        return None

    def _scan(self, target: Fraction) -> None:
        """Read on from the start without decoding, up to the last keyframe but one at or before `target`.

        Where times are missing or run backwards, everything from the start has to be decoded.
        """
        self._reopen()
        groups: deque[list[VideoPacket]] = deque([[]], maxlen=2)
        last = None
        try:
            for packet in (p for p in self._demux if p.size):
                if packet.dts is None or (last is not None and packet.dts < last):
                    return self._reopen()
                last = packet.dts
                if packet.is_keyframe and packet.pts is not None and packet.pts <= target:
                    groups.append([])
                groups[-1].append(packet)
                if packet.dts > target:
                    break
        except av.FFmpegError:
            return self._reopen()
        self._pending = [packet for group in groups for packet in group]
        first = next((packet for packet in self._pending if packet.is_keyframe), None)
        if first is not None and not decodes_alone(self.stream.codec_context, first):
            self._reopen()
        return None

    def _reopen(self) -> None:
        self.close()
        self._open()
