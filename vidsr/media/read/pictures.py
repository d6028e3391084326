"""Decoded pictures as the packets of segments, without loss: for sources whose own packets are not enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

from vidsr.frame import Colour, Frame, Inside, PixelFormat
from vidsr.media.pyav import VideoPacket
from vidsr.media.read.packets import BEFORE, BEHIND, Packed, PackedDecoder, Shipment
from vidsr.media.read.probe import Video
from vidsr.media.write.encoder import VideoSpec, configure, to_video_frame


def pack_pictures(
    frames: Iterable[Frame], video: Video, interval_of: Callable[[Frame], int], done: Container[int], *, reach: int = 0
) -> Iterator[Shipment]:
    """`frames`, whose layout is that of `video`, as segments; those that are `done` are left out.

    Each has up to `reach` neighbours on either side, frames that are aside among them.
    """
    packers: deque[_Packer] = deque()
    before: deque[Frame] = deque(maxlen=reach)
    for frame in frames:
        interval = (BEHIND if packers else BEFORE) if frame.aside else interval_of(frame)
        for packer in packers:
            if packer.interval != interval and packer.num_behind < reach:
                packer.add(frame, aside=True)
        while packers and packers[0].interval < interval and packers[0].num_behind == reach:
            yield packers.popleft().close()
        if not frame.aside and interval not in done:
            if not packers or packers[-1].interval != interval:
                packers.append(_Packer(interval, video))
                for earlier in before:
                    packers[-1].add(earlier, aside=True)
            packers[-1].add(frame)
        before.append(frame)
    for packer in packers:
        yield packer.close()


class _Packer:
    """Encodes pictures without loss, each on its own, as packets of their own times."""

    def __init__(self, interval: int, video: Video) -> None:
        self.interval = interval
        name = "ffv1" if _is_ffv1(video.format) else "rawvideo"
        self._spec = VideoSpec(name, video.format, video.colour, video.width, video.height, Fraction(1, 1000))
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        configure(context, self._spec)
        context.thread_count = 1
        self._context = context
        self._times: list[tuple[int, int]] = []  # pts and duration of each picture
        self._packets: list[Packed] = []
        self._colours: list[Colour] = []
        self._insides: list[Inside] = []
        self._num_before = self._num_own = self.num_behind = 0
        self._time_base: Fraction | None = None

    def add(self, frame: Frame, *, aside: bool = False) -> None:
        self._num_own += not aside
        self._num_before += aside and not self._num_own
        self.num_behind += aside and self._num_own > 0
        picture = to_video_frame(frame, self._spec)
        picture.pts, picture.time_base = len(self._times), self._context.time_base
        self._times.append((frame.pts, frame.duration))
        self._colours.append(frame.colour)
        self._insides.append(frame.inside)
        self._time_base = frame.time_base
        self._keep(self._context.encode(picture))

    def close(self) -> Shipment:
        self._keep(self._context.encode(None))
        extradata = bytes(self._context.extradata or b"")
        name, fmt, spec = self._spec.encoder, self._spec.format.name, self._spec
        decoder = PackedDecoder(name, extradata, 0, spec.width, spec.height, fmt if name == "rawvideo" else None)
        return Shipment(
            self.interval,
            decoder,
            tuple(self._packets),
            expected=tuple(pts for pts, _ in self._times),
            colours=tuple(self._colours),
            insides=tuple(self._insides),
            time_base=self._time_base,
            num_before=self._num_before,
            num_behind=self.num_behind,
        )

    def _keep(self, packets: Sequence[VideoPacket]) -> None:
        for packet in packets:
            assert packet.pts is not None
            pts, duration = self._times[packet.pts]
            self._packets.append(Packed(bytes(packet), pts, pts, duration, True))


def _is_ffv1(fmt: PixelFormat) -> bool:
    return fmt.name in {known.name for known in av.Codec("ffv1", "w").video_formats or ()}
