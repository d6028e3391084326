"""Subtitles that were converted into another notation: the same words at the same times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import av
from av.subtitles.subtitle import AssSubtitle, Subtitle

from vidsr.media.mux.tracks import UNKNOWN_LENGTH
from vidsr.media.read.joints import Joints, OneClock
from vidsr.media.read.open import demux, open_input
from vidsr.media.read.webvtt import text_decoder
from vidsr.verify.inventory import Inventory, Pairing
from vidsr.verify.packets import LINE, Mapping
from vidsr.verify.phrases import plain, seconds, some
from vidsr.verify.report import Finding, same
from vidsr.words import counted

Line: TypeAlias = tuple[Fraction, Fraction, str]  # from, to before, words

_STYLE = re.compile(r"\{\\[^}]*\}|<[^>]*>")  # braces without a command in them are the author's
_BRACE = "\\{{}"  # as FFmpeg's decoder of WebVTT writes one
_SPACE = re.compile(r"(\\[Nnh]|\s)+")


def check_text(pairing: Pairing, source: Inventory, output: Inventory, mapping: Mapping) -> Iterator[Finding]:
    """One row for each stream that was converted."""
    for item, old, new in pairing.kept:
        if item.how == "converted":
            want = list(_moved(_lines(source.path, old.index, source.joints), mapping))
            found = list(_lines(output.path, new.index))
            wrong = _differences(_shown(want), _shown(found))
            words = [f"{counted(len(lines), 'line')} of {track.codec}" for track, lines in ((old, want), (new, found))]
            yield same(f"subtitle {old.index}: text", words[0], words[1], not wrong, some(wrong))


def _lines(path: Path, index: int, joints: Joints = ()) -> Iterator[Line]:
    """Begin, end and words of every line that has any."""
    with open_input(path) as opened:
        stream = opened.streams[index]
        decoder = text_decoder(stream)
        for packet in demux(opened, stream, clock=OneClock(joints)):
            if not packet.size or packet.pts is None:
                continue
            try:
                shown = decoder.decode2(packet)
            except av.FFmpegError:
                continue
            words = " ".join(_words(rect) for rect in shown or ()).strip()
            if words:
                begin = packet.pts * packet.time_base
                yield begin, begin + (packet.duration * packet.time_base if packet.duration else UNKNOWN_LENGTH), words


def _words(rect: Subtitle) -> str:
    """Without styles; of ASS, the last of its nine fields."""
    if not isinstance(rect, AssSubtitle):
        return ""
    text = rect.ass.decode(errors="replace").split(",", 8)[-1] if rect.ass else rect.text.decode()
    return _SPACE.sub(" ", _STYLE.sub("", text.replace(_BRACE, "{"))).strip()


def _moved(lines: Iterator[Line], mapping: Mapping) -> Iterator[Line]:
    for begin, end, words in lines:
        if mapping.window is not None:
            low, high = mapping.window
            if begin < low < end:
                begin = low
            if not low <= begin < high:
                continue
            end = end if end <= high else Fraction(high)
        yield begin + mapping.shift, end + mapping.shift, words


def _shown(lines: list[Line]) -> list[Line]:
    """What a viewer reads when: lines that overlap are one for as long, as mp4 stores them."""
    pieces: list[Line] = []
    moments = sorted({moment for begin, end, _ in lines for moment in (begin, end)})
    for begin, end in pairwise(moments):
        words = " ".join(words for first, last, words in lines if first <= begin and end <= last)
        if not words or end - begin <= 2 * LINE:  # so short a time comes of rounding
            continue
        if pieces and pieces[-1][2] == words and begin - pieces[-1][1] <= 2 * LINE:
            begin = pieces.pop()[0]
        pieces.append((begin, end, words))
    return pieces


def _differences(want: list[Line], found: list[Line]) -> list[str]:
    if len(want) != len(found):
        return [f"{len(found)} lines instead of {len(want)}"]
    wrong = []
    for number, (old, new) in enumerate(zip(want, found, strict=True), 1):
        if old[2] != new[2]:
            wrong.append(f"line {number} is {plain(new[2])!r} instead of {plain(old[2])!r}")
        elif abs(old[0] - new[0]) > LINE:
            wrong.append(f"line {number} is shown at {seconds(new[0])} instead of {seconds(old[0])}")
        elif abs(old[1] - new[1]) > 2 * LINE:  # begin and length are rounded
            wrong.append(f"line {number} is shown until {seconds(new[1])} instead of {seconds(old[1])}")
    return wrong
