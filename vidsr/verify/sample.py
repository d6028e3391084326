"""A few pictures of a finished output beside those of its source: gross mistakes only, in little time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing, suppress
from fractions import Fraction

import av

from vidsr.errors import DamagedError, VerifyError
from vidsr.frame import Frame
from vidsr.media.pyav import picture_stream
from vidsr.media.read.open import decoder_of, demux, open_input
from vidsr.media.read.pixels import Unpacker, planes_of
from vidsr.media.read.probe import MediaInfo
from vidsr.verify.content import MAX_LOST_DETAIL, Shrinker, liken
from vidsr.verify.pictures import as_output, visible

FramesFrom = Callable[[Fraction | None], AbstractContextManager[Iterable[Frame]]]
"""Opens the source's frames from so many seconds after its first picture on."""

MIN_BLOCK_PSNR = 15.0  # dB, of the means of blocks: far below what any network does to a picture


def check_sample(
    source: MediaInfo, output: MediaInfo, keyframes: Iterable[int], shift: Fraction, frames: FramesFrom, budget: float
) -> int:
    """Compare `output` with its source at its `keyframes` (pts), as far as they fit into `budget` seconds.

    Returns how many pictures were compared; `shift` seconds were added to the source's times.

    Raises:
        VerifyError: a picture is black, or shows something else.
    """
    started, num_compared = time.monotonic(), 0
    for keyframe in keyframes:
        made = _picture_at(output, keyframe)
        if made is None:
            continue
        at = made.pts * made.time_base - shift
        own = _frame_at(source, at, output.video.time_base, frames, started + budget)
        if own is not None:
            _compare(source, output, own, made)
            num_compared += 1
        if time.monotonic() - started > budget:
            break
    return num_compared


def _compare(source: MediaInfo, output: MediaInfo, own: Frame, made: Frame) -> None:
    shrink = Shrinker(source.video.width, source.video.height)
    wanted = as_output(own, output.video, source.video.colour)
    like = liken(shrink(visible(made, output.video)), shrink(wanted), None, None)
    if like.block_psnr < MIN_BLOCK_PSNR or (
        like.lost_detail > MAX_LOST_DETAIL and like.block_psnr < 2 * MIN_BLOCK_PSNR
    ):
        where = f"the picture at {float(own.pts * own.time_base):.3f} s of the source"
        raise VerifyError(f"{output.path}: {where} looks different in the finished file; please report this")


def _frame_at(source: MediaInfo, at: Fraction, grain: Fraction, frames: FramesFrom, deadline: float) -> Frame | None:
    """The source's picture of that time; None where the source gives none in time."""
    video = source.video
    begin = at - (video.start_pts or 0) * video.time_base - max(grain, video.time_base) / 2
    try:
        with frames(begin if begin > 0 else None) as reader:
            for frame in reader:
                apart, near = frame.pts * frame.time_base - at, max(grain, frame.time_base) / 2
                if apart >= -near or time.monotonic() > deadline:
                    return frame if abs(apart) <= near else None
    except DamagedError:
        pass  # said before
    return None


def _picture_at(info: MediaInfo, pts: int) -> Frame | None:
    """The first picture that decodes from the keyframe at `pts` on."""
    video = info.video
    with open_input(info.path) as container:
        stream = picture_stream(container, video.index)
        decoder = decoder_of(stream)
        with suppress(av.PermissionError):  # FFmpeg finds no such place: then the first picture will do
            container.seek(pts, stream=stream, backward=True)
        picture: av.VideoFrame | None = None
        with closing(demux(container, stream)) as packets:
            while picture is None:
                packet = next(packets, None)
                picture = next(iter(decoder.decode(packet)), None)
                if packet is None or not packet.size:
                    break
        if picture is None or picture.pts is None:
            return None
        planes = planes_of(Unpacker(video.format)(picture), video.format)
        return Frame(tuple(plane.copy() for plane in planes), video.format, video.colour, picture.pts, video.time_base)
