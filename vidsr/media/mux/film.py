"""What an output says of its film, joined or written as it is made: tags, chapters, and its streams in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import InputContainer, OutputContainer
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from vidsr.media import side_data
from vidsr.media.containers import Container
from vidsr.media.encoders import encoder
from vidsr.media.mux import timecode
from vidsr.media.mux.flags import MEANT
from vidsr.media.mux.languages import held
from vidsr.media.mux.matroska import both_languages
from vidsr.media.mux.streams import NOT_COPIED, KeptStream
from vidsr.media.mux.tracks import Track, add_track, attach_cover, own_metadata
from vidsr.media.read.matroska import head_of
from vidsr.media.read.probe import MediaInfo
from vidsr.media.read.programs import program_of, programs
from vidsr.media.write.encoder import VideoSpec, scaled_matrix

if TYPE_CHECKING:
    from av.container.core import Chapter  # a type of the stubs only


@dataclass(frozen=True, slots=True)
class Film:
    """A film of `spec` on its way into `container`, `shift` seconds later than in its `source`.

    Of a part (seconds in `window`; None: all) `begin` is where its first picture stands in the source. `rate` is that
    at which pictures come, if they do. `notes` is what the user should know.
    """

    source: MediaInfo
    spec: VideoSpec
    container: Container
    window: tuple[Fraction, Fraction | float] | None
    begin: Fraction
    shift: Fraction
    rate: Fraction | None
    notes: list[str] = field(default_factory=list)

    @property
    def placeholder(self) -> str | None:
        """Title of the picture until the aspect of its samples stands in the file."""
        return self.container.placeholder if self.spec.sample_aspect != 1 else None

    def describe(self, out: OutputContainer, opened: InputContainer, metadata: Mapping[str, str]) -> None:
        """Tags and chapters of the source, and `metadata`."""
        out.metadata.update({k: v for k, v in self.source.metadata.items() if k.lower() not in NOT_COPIED})
        out.metadata.update(self._service(opened) if self.container.stream_ids else {})
        out.metadata.update(metadata)
        chapters: list[Chapter] = []
        for chapter in opened.chapters():
            base = chapter["time_base"] or Fraction(1)
            begin, end = chapter["start"] * base, chapter["end"] * base
            if self.window is not None:
                begin = max(begin, self.window[0])
                end = end if end <= self.window[1] else Fraction(self.window[1])
            if begin < end or self.window is None:
                ticks = [max(round((value + self.shift) / base), 0) for value in (begin, end)]
                chapters.append({**chapter, "start": ticks[0], "end": ticks[1]})
        out.set_chapters(chapters)

    def _service(self, opened: InputContainer) -> dict[str, str]:
        """What the picture's program is called, as FFmpeg's muxer wants it."""
        found = programs(self.source.path, self.source.container)
        its = program_of(found, opened.streams[self.source.video.index].id)
        names = {"service_name": its.name, "service_provider": its.provider} if its else {}
        return {key: name for key, name in names.items() if name}

    def add_streams(
        self,
        out: OutputContainer,
        opened: InputContainer,
        kept: Sequence[KeptStream],
        add_picture: Callable[[], VideoStream],
    ) -> tuple[VideoStream, dict[int, Track]]:
        """All streams of the output, in the source's order; the picture stream is what `add_picture` adds."""
        plans = {plan.index: plan for plan in kept}
        tracks: dict[int, Track] = {}
        target: VideoStream | None = None
        for stream in opened.streams:
            plan = plans.get(stream.index)
            if stream.index == self.source.video.index and isinstance(stream, VideoStream):
                target = add_picture()
                self._dress(target, out, stream)
            elif plan is not None and plan.how == "attached":
                attach_cover(out, self.source.path, stream.index)
            elif plan is not None and plan.how != "rewritten":
                tracks[stream.index] = add_track(out, self.container, stream, plan, self.shift)
            if stream.index not in tracks:
                stream.discard = Discard.all
        assert target is not None, "the picture stream is one of the source's"
        self._name_exactly({index: track.target for index, track in tracks.items()} | {self.source.video.index: target})
        for made in out.streams:
            if language := held(made.metadata.get("language"), made.type, self.container):
                made.metadata["language"] = language
        return target, tracks

    def _name_exactly(self, targets: Mapping[int, Stream]) -> None:
        """Languages as the source has them beside those of three letters, which FFmpeg reads over."""
        if self.container.ebml:
            for index, exact in head_of(self.source.path).languages.items():
                if made := targets.get(index):
                    made.metadata["language"] = both_languages(made.metadata.get("language"), exact)

    def _dress(self, target: VideoStream, out: OutputContainer, source: VideoStream) -> None:
        """The source's name, language and disposition, and how the picture is shown."""
        row, spec, video = self.container, self.spec, self.source.video
        if tag := row.codec_tags.get(encoder(spec.encoder).codec):
            target.codec_context.codec_tag = tag
        grown = Fraction(spec.width, video.width), Fraction(spec.height, video.height)
        target.set_display_matrix(scaled_matrix(spec.display_matrix, *grown))
        target.metadata.update(own_metadata(source))
        if spec.format.alpha and encoder(spec.encoder).alpha_beside:
            target.metadata["alpha_mode"] = "1"  # Matroska's muxer makes an element of it, without which nobody looks
        told = target.metadata.pop("stereo_mode", None)
        mode = side_data.stereo_mode(spec.stereo, row) if spec.stereo else told
        if mode and row.ebml and (row.stereo_modes is None or mode in row.stereo_modes):
            target.metadata["stereo_mode"] = mode
        if self.placeholder:
            target.metadata["title"] = self.placeholder
        if row.ebml and self.rate is not None:
            target.codec_context.framerate = self.rate
        target.disposition = source.disposition & MEANT
        for metadata in (out.metadata, target.metadata):
            self._place_timecode(metadata, target)

    def _place_timecode(self, metadata: dict[str, str], target: VideoStream) -> None:
        """A part begins later; and mov and mp4 count in pictures, for which FFmpeg has to know their rate."""
        video = self.source.video
        for key in [key for key in metadata if key.lower() == timecode.KEY]:
            if self.window is not None:
                first = (video.start_pts or 0) * video.time_base
                metadata[key] = timecode.later(metadata[key], self.begin - first, video.rate)
            rate = timecode.fitting_rate(metadata[key], video.rate)
            if self.container.boxes and rate is None:
                self.notes.append(f"the timecode is dropped: {self.container} cannot count by it")
                del metadata[key]
            elif self.container.boxes and rate is not None:
                target.codec_context.framerate = rate
