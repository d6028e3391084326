"""Subtitles that were converted into another notation: the same words at the same times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.subtitles.codeccontext import SubtitleCodecContext

from vidsr.media.open import demux, open_input
from vidsr.verify.inventory import Inventory, Pairing
from vidsr.verify.report import Check, same
from vidsr.verify.streams import LINE, Mapping
from vidsr.verify.words import plain, seconds, some, spoken

_STYLE = re.compile(r"\{[^}]*\}|<[^>]*>")
_SPACE = re.compile(r"(\\[Nnh]|\s)+")


def check_text(pairing: Pairing, source: Inventory, output: Inventory, mapping: Mapping) -> Iterator[Check]:
    """One row for each stream that was converted."""
    for item, old, new in pairing.kept:
        if item.how == "converted":
            want = list(_moved(_lines(source.path, old.index), mapping))
            found = list(_lines(output.path, new.index))
            wrong = _differences(want, found)
            words = [f"{spoken(len(lines), 'line')} of {track.codec}" for track, lines in ((old, want), (new, found))]
            yield same(f"subtitle {old.index}: text", words[0], words[1], not wrong, some(wrong))


def _lines(path: Path, index: int) -> Iterator[tuple[Fraction, Fraction, str]]:
    """Begin, end and words of every line that has any."""
    with open_input(path) as opened:
        stream: Any = opened.streams[index]
        decoder = cast(SubtitleCodecContext, stream.codec_context)
        for packet in demux(opened, stream):
            if not packet.size or packet.pts is None:
                continue
            try:
                shown: Any = decoder.decode2(packet)
            except av.FFmpegError:
                continue
            words = " ".join(_words(rect) for rect in shown or ()).strip()
            if words:
                begin = packet.pts * packet.time_base
                yield begin, begin + (packet.duration or 0) * packet.time_base, words


def _words(rect: Any) -> str:
    """Without styles; of ASS, the last of its nine fields."""
    text = rect.ass.decode(errors="replace") if getattr(rect, "ass", None) else getattr(rect, "text", b"").decode()
    text = text.split(",", 8)[-1] if getattr(rect, "ass", None) else text
    return _SPACE.sub(" ", _STYLE.sub("", text)).strip()


def _moved(
    lines: Iterator[tuple[Fraction, Fraction, str]], mapping: Mapping
) -> Iterator[tuple[Fraction, Fraction, str]]:
    for begin, end, words in lines:
        if mapping.window is not None:
            low, high = mapping.window
            if begin < low < end:
                begin = low
            if not low <= begin < high:
                continue
        yield begin + mapping.shift, end + mapping.shift, words


def _differences(want: list[tuple[Fraction, Fraction, str]], found: list[tuple[Fraction, Fraction, str]]) -> list[str]:
    if len(want) != len(found):
        return [f"{len(found)} lines instead of {len(want)}"]
    wrong = []
    for number, (old, new) in enumerate(zip(want, found, strict=True), 1):
        if old[2] != new[2]:
            wrong.append(f"line {number} is {plain(new[2])!r} instead of {plain(old[2])!r}")
        elif abs(old[0] - new[0]) > LINE:
            wrong.append(f"line {number} is shown at {seconds(new[0])} instead of {seconds(old[0])}")
    return wrong
