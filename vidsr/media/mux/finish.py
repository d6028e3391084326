"""What FFmpeg's muxers leave to be done in a finished file, and how they are told of a loop. Pure Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidsr.media.mux import matroska


@dataclass(frozen=True, slots=True)
class Written:
    """An output that its muxer has finished, and what it should say. Times and packets are in place."""

    path: Path
    metadata: Mapping[str, str]  # of the file
    languages: Sequence[str | None]  # of its streams, in order
    fingerprint: str | None  # of the job, where the output is to be marked
    size: tuple[int, int]  # of the pictures
    aspect: Fraction  # of their samples
    title: str | None  # of the picture stream, where a placeholder holds its place
    varies: bool  # whether pictures come at no constant rate
    picture: int  # number of the picture stream, of all in mp4, of the picture streams in Matroska
    boxes: bytes = b""  # of its sample entry, in mp4, that FFmpeg does not write
    alpha: bool = False  # whether pictures may be transparent
    chapters: bytes | None = None  # the body of Matroska's own section of them, in place of what FFmpeg writes


def boxes(written: Written) -> None:
    """Metadata, languages and side data that FFmpeg leaves out."""
    from vidsr.media.mux import mp4

    mp4.extend_sample_entry(written.path, written.boxes, written.picture)
    mp4.complete(written.path, written.metadata, written.languages)


def elements(written: Written) -> None:
    """Exact languages; samples' aspect, which FFmpeg writes only where the codec says it; no varying rate; chapters."""
    if matroska.have_both(written.languages):
        matroska.write_languages(written.path)
    if written.varies:
        matroska.drop_rate(written.path, written.picture)
    if written.aspect != 1:
        matroska.write_aspect(written.path, *written.size, written.aspect, written.title)
    if written.chapters is not None:
        matroska.write_chapters(written.path, written.chapters)


def stream(written: Written) -> None:
    """The fingerprint, for which there is no metadata."""
    if written.fingerprint is not None:
        from vidsr.media.mux import fingerprint

        fingerprint.append_null_packet(written.path, written.fingerprint)


def gif(written: Written) -> None:
    """The fingerprint, as a comment; and pictures that are taken away where they may be transparent."""
    if written.alpha:
        from vidsr.media import animations

        animations.take_away(written.path)
    if written.fingerprint is not None:
        from vidsr.media.mux import fingerprint

        fingerprint.insert_comment(written.path, written.fingerprint)


def png(written: Written) -> None:
    """The fingerprint, as a text."""
    if written.fingerprint is not None:
        from vidsr.media.mux import fingerprint

        fingerprint.append_text(written.path, written.fingerprint)


def gif_loop(plays: int, last: Fraction) -> dict[str, str]:
    """Options of the muxer: how often it is shown again, -1 for never, and how long the last picture."""
    again = {0: 0, 1: -1}.get(plays, plays - 1)
    return {"loop": str(min(again, 0xFFFF)), "final_delay": str(min(max(round(last * 100), 2), 0xFFFF))}


def png_loop(plays: int, last: Fraction) -> dict[str, str]:
    """The same."""
    length = min(last, Fraction(0xFFFF)).limit_denominator(0xFFFF)
    return {"plays": str(min(plays, 0xFFFF)), "final_delay": f"{length.numerator}/{length.denominator}"}
