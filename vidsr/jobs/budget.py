"""Whether a size that is asked for can be met, before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from fractions import Fraction

import av

from vidsr.errors import UsageError
from vidsr.jobs.options import Options
from vidsr.media.encoders import encoder
from vidsr.media.mux.streams import KeptStream
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.probe import MediaInfo
from vidsr.media.write import choice
from vidsr.words import num_bytes

_APART = 10  # seconds by which packets of one time may stand behind each other in a file
FINER = 3  # steps of quality: how much finer than usual parts are that will be encoded again


def finer(chosen: choice.OutputFormat) -> choice.OutputFormat:
    """For parts that are encoded again: finer than usual.

    Raises:
        UsageError: there is no quality to find.
    """
    row = encoder(chosen.encoder)
    if row.quality is None or chosen.crf is None:
        raise UsageError(
            f"target size needs a codec with a scale of quality, and {chosen.codec} has none; h264 has one"
        )
    if chosen.pix_fmt.alpha and row.alpha_beside:
        raise UsageError(f"target size does not go with the transparency of {chosen.codec}; use --crf (crf)")
    return replace(chosen, crf=max(chosen.crf - FINER, 0))


def size_notes(options: Options) -> tuple[str, ...]:
    """What is said of a size that is to be met."""
    if options.target_size is None:
        return ()
    size = num_bytes(options.target_size, exact=True)
    return (f"{size}: parts are made finer than that, then encoded again at the quality that gives this size",)


def check_target(info: MediaInfo, kept: Sequence[KeptStream], options: Options) -> int:
    """Bytes of the streams that are copied beside the pictures, where a size is to be met; else 0.

    Raises:
        UsageError: they alone are larger.
    """
    if options.target_size is None:
        return 0
    copied = copied_bytes(info, kept, options.start or Fraction(0), options.end)
    if copied >= options.target_size:
        asked, others = (num_bytes(number, exact=True) for number in (options.target_size, copied))
        raise UsageError(
            f"target size: {asked} leave nothing for pictures: the other streams of {info.path} take {others}"
        )
    return copied


def copied_bytes(info: MediaInfo, kept: Sequence[KeptStream], start: Fraction, end: Fraction | None) -> int:
    """What the streams take that are copied, from `start` to before `end` in seconds."""
    wanted = {item.index for item in kept if item.how == "copied"}
    total = 0
    with open_input(info.path) as container:
        streams = [container.streams[index] for index in sorted(wanted)]
        with suppress(av.FFmpegError), closing(demux(container, *streams)) as packets:  # for the job to report
            for packet in packets if streams else ():
                time = None if packet.pts is None else packet.pts * packet.time_base - (info.start or 0)
                if time is None or (time >= start and (end is None or time < end)):
                    total += packet.size
                elif end is not None and time > end + _APART:
                    break
    return total
