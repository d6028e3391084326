"""What pictures say of themselves that the first one said otherwise: their colour, layout, size and aspect."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av

from vidsr import light
from vidsr.frame import Colour, PixelFormat
from vidsr.media.read.colour_tags import colour_of
from vidsr.media.read.pixels import planar_format
from vidsr.media.read.probe import Video

ALIKE = Fraction(1, 100)  # shapes that differ by less are one
MAX_NOTES = 20
MAX_KNOWN = 64  # more than any decoder holds back


class Aspects:
    """The pixel aspect of each picture of `video`, where the codec and not the container decides on it.

    Decoders tell only the latest, so what it is after a packet is kept until that packet's picture comes.
    """

    def __init__(self, video: Video) -> None:
        self._own = video.coded_aspect
        self._known: dict[int | None, Fraction | None] = {}  # by pts, of packets whose picture has not come
        self._latest = self._own

    def decoded(self, pts: int | None, aspect: Fraction | None) -> None:
        """After a packet, the decoder has `aspect`."""
        if self._own:
            self._known[pts] = self._latest = aspect or self._latest

    def of(self, pts: int | None) -> Fraction | None:
        """Of the picture of that packet; None where the container decides, or nobody says."""
        if len(self._known) > MAX_KNOWN and pts is not None:  # of packets that gave no picture
            self._known = {time: aspect for time, aspect in self._known.items() if time is not None and time >= pts}
        return self._known.pop(pts, self._latest)


class Changes:
    """Notes what changes after the first picture of `video`; `at` words a pts."""

    def __init__(self, video: Video, at: Callable[[int | None], str]) -> None:
        self._video, self._at = video, at
        self.notes: list[str] = []  # a sentence for each kind of change
        self._noted: set[tuple[object, ...]] = set()
        self._tags: tuple[object, ...] | None = None
        self._colour = video.colour
        self._layout = video.pix_fmt

    def colour(self, picture: av.VideoFrame, pts: int) -> Colour:
        """What the samples of `picture` mean."""
        tags = (picture.colorspace, picture.color_primaries, picture.color_trc, picture.color_range)
        if tags != self._tags:
            self._tags, self._colour = tags, colour_of(picture, self._video.colour)
        if self._colour != self._video.colour:
            self._note_colour(self._colour, pts)
        return self._colour

    def _note_colour(self, colour: Colour, pts: int) -> None:
        first = self._video.colour
        words = [
            f"range is {'full' if colour.full_range else 'limited'}" if colour.full_range != first.full_range else "",
            f"matrix is {colour.matrix.name.lower()}" if colour.matrix != first.matrix else "",
            f"primaries are {colour.primaries}" if colour.primaries != first.primaries else "",
            f"transfer is {colour.transfer}" if colour.transfer != first.transfer else "",
        ]
        what = ", ".join(filter(None, words))
        known = not light.differs(colour, first) or (light.is_known(colour) and light.is_known(first))
        done = "converted into that of the beginning" if known else "which is not converted into that of the beginning"
        self._note((what,), pts, f"the colour {what} {{at}}: {done}")

    def _look(self, picture: av.VideoFrame, pts: int) -> None:
        """Whether the layout of the first picture holds the samples of `picture`, which are converted into it."""
        if picture.format.name != self._layout:
            self._layout, first = picture.format.name, self._video.format
            if not _holds(first, planar_format(self._layout)):
                words = f"the pictures become {self._layout} {{at}}: reduced to {first.name}, as at the beginning"
                self._note((self._layout,), pts, words)

    def fit(self, picture: av.VideoFrame, aspect: Fraction | None, pts: int) -> tuple[int, int]:
        """The (width, height) at which `picture` stands in the first one's frame, in its own shape."""
        self._look(picture, pts)
        width, height = self._video.stored
        size, own = (picture.width, picture.height), self._video.coded_aspect
        place = width, height
        shape = Fraction(1) if not (aspect and own) else aspect / own
        stretch = shape * picture.width * height / (picture.height * width)
        if aspect is not None and stretch > 1 + ALIKE:
            place = width, max(_even(height / stretch), 2)
        elif aspect is not None and stretch < 1 - ALIKE:
            place = max(_even(width * stretch), 2), height
        beside = "" if place == (width, height) else ", black beside it, to keep its shape"
        done = f"resized to {place[0]}x{place[1]}{beside}"
        if size != (width, height):
            self._note((size, place), pts, f"the picture size becomes {size[0]}x{size[1]} {{at}}: {done}")
        elif place != size and aspect:
            ratio = f"{aspect.numerator}:{aspect.denominator}"
            self._note((aspect, place), pts, f"the pixel aspect becomes {ratio} {{at}}: {done}")
        return place

    def _note(self, kind: tuple[object, ...], pts: int, sentence: str) -> None:
        if kind not in self._noted:
            self._noted.add(kind)
            if len(self.notes) < MAX_NOTES:
                self.notes.append(sentence.format(at=self._at(pts)))


def _holds(first: PixelFormat, other: PixelFormat) -> bool:
    if other.bits > first.bits or other.alpha > first.alpha:
        return False
    finer = any(own > its for own, its in zip(first.chroma_shift, other.chroma_shift, strict=True))
    return other.model == "grey" or (other.model == first.model and not finer)


def _even(side: Fraction) -> int:
    return round(side / 2) * 2
