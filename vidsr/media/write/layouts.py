"""Sample layouts: those that an encoder is fed, and which of them loses least of the source."""

from __future__ import annotations

from collections.abc import Sequence

import av

from vidsr.errors import OutputError, UsageError
from vidsr.frame import PixelFormat
from vidsr.media.containers import Container, keeping_alpha
from vidsr.media.encoders import CODECS, Encoder


def choose_layout(source: PixelFormat, bits: int, row: Encoder, container: Container) -> tuple[PixelFormat, list[str]]:
    """The layout in which `row` keeps most of `source` at `bits` a sample, and a sentence for each loss.

    Raises:
        OutputError: the encoder takes no planar layout.
    """
    layouts = _fed(row)
    model = "yuv" if source.model == "rgb" else source.model
    wanted = PixelFormat(model, bits, source.chroma_shift, source.alpha and row.name in container.alpha)
    chosen = nearest_layout(wanted, [layout for layout in layouts if layout.model != "rgb"] or layouts)
    notes = []
    if source.model == "rgb" and chosen.model == "yuv":
        notes.append(f"{chosen.name}: RGB is stored as YUV with its own primaries")
    if source.alpha and not chosen.alpha:
        able = keeping_alpha()
        notes.append(f"transparency is dropped: {row.name} in {container} does not keep it ({able} can)")
    if chosen.bits < bits:
        notes.append(f"{bits} bits a sample become {chosen.bits}: {row.name} takes no more")
    if any(have > want for have, want in zip(_chroma(chosen), _chroma(wanted), strict=True)):
        notes.append(f"chroma is reduced to {chosen.name}: {row.name} takes no more")
    return chosen, notes


def named_layout(name: str, row: Encoder) -> PixelFormat:
    """The layout that the user asks for.

    Raises:
        UsageError: it is no planar layout.
        OutputError: the encoder does not take it.
    """
    layouts = _fed(row)
    layout = _planar(name)
    if layout is None:
        raise UsageError(f"pix_fmt {name} is not a planar sample layout: use one such as yuv420p or yuv444p10le.")
    if layout not in layouts:
        known = ", ".join(sorted(f.name for f in layouts))
        raise OutputError(f"{row.name} cannot encode {name}: it takes {known}.")
    return layout


def encoder_layouts(row: Encoder) -> list[PixelFormat]:
    """Layouts that the writer can hand to that encoder, RGB among them only for those that the user may name."""
    names = row.layouts or [format.name for format in av.Codec(row.name, "w").video_formats or []]
    layouts = [layout for layout in map(_planar, names) if layout is not None]
    known = row.alpha_layouts
    return [layout for layout in layouts if not (layout.alpha and known) or layout.name in known]


def nearest_layout(wanted: PixelFormat, available: Sequence[PixelFormat]) -> PixelFormat:
    """The layout in `available` that loses least of `wanted`, then the one that adds least.

    RGB counts as YUV 4:4:4, grey as YUV without chroma. ValueError where `available` is empty.
    """

    def cost(format: PixelFormat) -> tuple[bool, int, int, int, int, int]:
        want, have = _chroma(wanted), _chroma(format)
        lost = sum(max(h - w, 0) for w, h in zip(want, have, strict=True))
        added = sum(max(w - h, 0) for w, h in zip(want, have, strict=True))
        alpha = wanted.alpha - format.alpha
        return alpha > 0, lost, max(wanted.bits - format.bits, 0), added, max(format.bits - wanted.bits, 0), abs(alpha)

    return min(available, key=cost)


def _fed(row: Encoder) -> list[PixelFormat]:
    if layouts := encoder_layouts(row):
        return layouts
    raise OutputError(f"vidsr cannot feed the encoder {row.name}: use codec {', '.join(CODECS)}.")


def _planar(name: str) -> PixelFormat | None:
    try:
        return PixelFormat.parse(name)
    except ValueError:
        return None


def _chroma(format: PixelFormat) -> tuple[int, int]:
    return (9, 9) if format.model == "grey" else format.chroma_shift
