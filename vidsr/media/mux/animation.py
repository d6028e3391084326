"""Animations, GIF and PNG: made of the pictures of all parts at once, whose encoders have to see the whole film."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path

import av
import av.filter
from av.video.stream import VideoStream

from vidsr.errors import OutputError
from vidsr.media.animations import plays_of
from vidsr.media.containers import CONTAINERS, Container
from vidsr.media.encoders import Encoder, encoder
from vidsr.media.mux.finish import Written
from vidsr.media.mux.join import JoinReport
from vidsr.media.mux.streams import Dropped
from vidsr.media.pyav import ready
from vidsr.media.read.open import local_name, open_input
from vidsr.media.read.probe import MediaInfo
from vidsr.media.write.times import Times, read_times
from vidsr.media.write.writer import VideoSpec, whole

_PALETTE = "pal8"
_CHOSEN = "stats_mode=full"  # one palette for the whole film: with several, what stands still changes its colour
_DITHERED = "dither=bayer:bayer_scale=3:alpha_threshold=128"  # a pattern that stays where it is: no error to spread


def animate(
    segments: Sequence[Path],
    source: MediaInfo,
    output: Path,
    *,
    container: str,
    encoded: str,
    spec: VideoSpec,
    mark: str | None = None,
    dropped: Sequence[Dropped] = (),
) -> JoinReport:
    """Encode the pictures of `segments`, which are of `spec`, by `encoded` into `output`, and sync it.

    They keep their lengths, the film how often it is shown. Other streams have no place: they are `dropped`.

    Raises:
        OutputError: the output cannot be written, or a segment is not finished. What was written is removed.
    """
    row, times = CONTAINERS[container], read_times(segments)
    ticks, clock, late = _placed(times, spec.time_base, row)
    last = (times.end - int(times.pts.max())) * spec.time_base
    with whole(output):
        options = row.animated(plays_of(source.path, source.container), last) if row.animated else {}
        _write(output, segments, ticks, clock, _Kind(row, encoder(encoded), spec), options)
        row.finish(_written(output, spec, mark))
    least = 1 / row.fastest if row.fastest else 0.0
    notes = (f"pictures stand up to {float(late):.3f} s later: {row} shows none for less than {least} s",)
    shift = -int(times.pts.min()) * spec.time_base
    size = output.stat().st_size
    return JoinReport(len(times), (), tuple(dropped), notes if late else (), size, shift, late)


class _Kind:
    """What is written: the container, its encoder, and the pictures of the parts."""

    def __init__(self, row: Container, encoder: Encoder, spec: VideoSpec) -> None:
        self.row, self.encoder, self.spec = row, encoder, spec
        self.stored = encoder.packed[spec.format.name]

    def graph(self) -> tuple[av.filter.Graph, av.filter.context.FilterContext]:
        """A graph, not yet linked, with a source of pictures in it."""
        graph, spec = av.filter.Graph(), self.spec
        base = spec.time_base
        format = av.VideoFormat(encoder(spec.encoder).packed[spec.format.name])
        return graph, graph.add_buffer(width=spec.width, height=spec.height, format=format, time_base=base)


def _placed(times: Times, time_base: Fraction, row: Container) -> tuple[list[int], Fraction, Fraction]:
    """Where pictures stand on the clock of the file, whose first one stands at 0; that clock; how late the latest is.

    One that would be shown for less than players show any waits for its turn.
    """
    clock = time_base if row.lengths_only or row.clock is None else row.clock
    least = ceil(1 / (row.fastest * clock)) if row.fastest else 1
    shown = sorted(times.pts.tolist())
    ticks: list[int] = []
    late = 0
    for pts in shown:
        exact = round((pts - shown[0]) * time_base / clock)
        ticks.append(max(exact, ticks[-1] + least) if ticks else exact)
        late = max(late, ticks[-1] - exact)
    return ticks, clock, late * clock


def _write(
    output: Path, segments: Sequence[Path], ticks: Sequence[int], clock: Fraction, kind: _Kind, options: dict[str, str]
) -> None:
    number = 0
    with av.open(local_name(output), "w", format=kind.row.muxer, container_options=options) as out:
        stream = _stream(out.add_stream(kind.encoder.name), kind, clock)
        for number, picture in enumerate(_stored(segments, kind), 1):
            if number <= len(ticks):
                picture.pts, picture.time_base = ticks[number - 1], clock
                picture.duration = 0
                picture.color_primaries, picture.color_trc = kind.spec.colour.primaries, kind.spec.colour.transfer
                out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    if number != len(ticks):
        raise OutputError(f"{segments[-1]}: {len(ticks)} pictures were written, {number} are there; run the job again.")


def _stream(stream: object, kind: _Kind, clock: Fraction) -> VideoStream:
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = kind.spec.width, kind.spec.height, kind.stored
    stream.time_base = stream.codec_context.time_base = clock
    options, alpha = kind.encoder.options, kind.encoder.alpha_options
    stream.codec_context.options = {**options, **(alpha if kind.spec.format.alpha else {})}
    stream.codec_context.thread_count = kind.spec.num_threads
    return stream


def _stored(segments: Sequence[Path], kind: _Kind) -> Iterator[av.VideoFrame]:
    """All pictures in order, as the encoder wants them."""
    if kind.stored == _PALETTE:
        return _with_palette(_pictures(segments), _palette(_pictures(segments), kind), kind)
    return _converted(_pictures(segments), kind)


def _pictures(segments: Sequence[Path]) -> Iterator[av.VideoFrame]:
    for path in segments:
        with open_input(path) as part:
            yield from part.decode(part.streams.video[0])


def _palette(pictures: Iterable[av.VideoFrame], kind: _Kind) -> av.VideoFrame:
    """The best 256 colours of all pictures, one of them transparent: for what is, and for what does not change."""
    graph, begin = kind.graph()
    graph.link_nodes(begin, graph.add("palettegen", _CHOSEN), graph.add("buffersink")).configure()
    for number, picture in enumerate(pictures):
        graph.push(_numbered(picture, number))
    graph.push(None)
    found = graph.pull()
    assert isinstance(found, av.VideoFrame)
    return found


def _with_palette(pictures: Iterable[av.VideoFrame], palette: av.VideoFrame, kind: _Kind) -> Iterator[av.VideoFrame]:
    graph, begin = kind.graph()
    colours = graph.add_buffer(
        width=palette.width, height=palette.height, format=av.VideoFormat("bgra"), time_base=Fraction(1)
    )
    use, end = graph.add("paletteuse", _DITHERED), graph.add("buffersink")
    begin.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(end)
    graph.configure()
    palette.pts, palette.time_base = 0, Fraction(1)
    colours.push(palette)
    colours.push(None)
    for number, picture in enumerate(pictures):
        begin.push(_numbered(picture, number))
        yield from ready(end)
    begin.push(None)
    yield from ready(end)


def _converted(pictures: Iterable[av.VideoFrame], kind: _Kind) -> Iterator[av.VideoFrame]:
    for picture in pictures:
        yield picture.reformat(format=kind.stored)


def _numbered(picture: av.VideoFrame, number: int) -> av.VideoFrame:
    picture.pts = number
    return picture


def _written(output: Path, spec: VideoSpec, mark: str | None) -> Written:
    return Written(
        output,
        metadata={},
        languages=(),
        fingerprint=mark,
        size=(spec.width, spec.height),
        aspect=Fraction(1),
        title=None,
        varies=True,
        picture=0,
        alpha=spec.format.alpha,
    )
