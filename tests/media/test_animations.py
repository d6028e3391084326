"""GIF and animated PNG come back as what they were: pictures, times, loop, transparency. Pillow reads what we write."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.clips import Audio, make_clip
from tests.numbered import Planes
from vidsr import upscale_video
from vidsr.errors import MediaError, UsageError
from vidsr.frame import Colour, PixelFormat
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Done, Event, Failed, Skipped
from vidsr.jobs.inputs import Target, expand
from vidsr.jobs.options import Options
from vidsr.jobs.run import run_batch
from vidsr.media.animations import plays_of
from vidsr.media.containers import CONTAINERS
from vidsr.media.mux.animation import _placed
from vidsr.media.read.probe import probe
from vidsr.media.write.times import Times
from vidsr.verify.comparison import compare

QUICK: dict[str, Any] = {"model": "bicubic", "backend": "cpu", "scale": 2}
LENGTHS = [80, 20, 300, 0, 50, 120]  # milliseconds; players show 0 for 100


def pictures(*, clear: bool) -> list[Image.Image]:
    """A bar that grows on a slope of many colours."""
    made = []
    slope = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(48, 0)
    for number in range(len(LENGTHS)):
        pixels = np.stack([slope, slope[::-1, ::-1], np.full_like(slope, 90), np.full_like(slope, 255)], -1)
        pixels[8:40, : 8 + 4 * number, :3] = (200, 30, 30)
        if clear:
            pixels[8:40, : 8 + 4 * number, 3] = 0
        made.append(Image.fromarray(pixels if clear else pixels[..., :3]))
    return made


def save(path: Path, *, loop: int | None, clear: bool, **more: Any) -> Path:
    first, *others = pictures(clear=clear)
    more |= {} if loop is None else {"loop": loop}
    first.save(path, save_all=True, append_images=others, duration=LENGTHS, **more)
    return path


def made(source: Path, output: Path | None = None, **options: Any) -> Done:
    done = upscale_video(source, output, **(QUICK | options))
    assert isinstance(done, Done)
    return done


def shown(path: Path) -> tuple[list[NDArray[np.uint8]], list[float]]:
    """All pictures as RGBA, and their lengths in milliseconds."""
    with Image.open(path) as image:
        found, lengths = [], []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            lengths.append(float(image.info["duration"]))
            found.append(np.asarray(image.convert("RGBA")))
        return found, lengths


@pytest.mark.parametrize(("loop", "plays"), [(None, 1), (3, 4)])
def test_a_gif_keeps_its_times_its_loop_and_what_is_clear(tmp_path: Path, loop: int | None, plays: int) -> None:
    source = save(tmp_path / "a.gif", loop=loop, clear=True, disposal=2)
    done = made(source)
    assert done.output.name == "a_x2.gif"
    found, lengths = shown(done.output)
    assert lengths == [100 if length == 0 else length for length in LENGTHS]
    assert plays_of(done.output, "gif") == plays_of(source, "gif") == plays
    with Image.open(done.output) as image:
        assert image.info.get("loop") == loop
    edges = [int(np.argmax(picture[48, :, 3] > 0)) for picture in found]
    assert edges == pytest.approx([16 + 8 * number for number in range(len(LENGTHS))], abs=2)
    assert isinstance(upscale_video(source, **QUICK), Skipped)
    assert compare(source, done.output).ok


def test_pictures_of_a_hundredth_of_a_second_last_as_long_as_players_show_them(tmp_path: Path) -> None:
    source = save(tmp_path / "a.gif", loop=None, clear=False)
    data = bytearray(source.read_bytes())
    place = -1
    for length in (1, 1, 7, 1, 0, 1):  # hundredths of a second
        place = data.index(b"!\xf9\x04", place + 1)
        data[place + 4 : place + 6] = struct.pack("<H", length)
    source.write_bytes(data)
    info = probe(source)
    assert (info.duration, info.video.duration, info.video.rate) == (Fraction(57, 100),) * 2 + (Fraction(600, 57),)
    assert shown(made(source).output)[1] == [100, 100, 70, 100, 100, 100]
    film = made(source, tmp_path / "a.mkv").output
    with av.open(str(film)) as opened:
        assert [frame.time for frame in opened.decode(video=0)] == pytest.approx([0, 0.1, 0.2, 0.27, 0.37, 0.47])
    assert compare(source, film).ok


def test_what_is_taken_away_later_uncovers_what_is_clear(tmp_path: Path) -> None:
    """The first picture alone does not tell that there is transparency."""
    whole, part = Image.new("RGBA", (32, 24), (200, 30, 30, 255)), Image.new("RGBA", (32, 24), (0, 0, 0, 0))
    part.paste((30, 30, 200, 255), (8, 8, 24, 16))
    whole.save(tmp_path / "a.gif", save_all=True, append_images=[part], duration=80, disposal=2)
    data = bytearray((tmp_path / "a.gif").read_bytes())
    control = data.index(b"!\xf9\x04")
    data[control + 3] |= 1
    data[control + 6] = 255  # a colour that the first picture has nowhere is the clear one
    (tmp_path / "a.gif").write_bytes(data)
    found, _ = shown(made(tmp_path / "a.gif").output)
    assert [picture[2, 2, 3] for picture in found] == [255, 0]
    assert [picture[24, 32, 3] for picture in found] == [255, 255]


def test_an_animated_png_keeps_every_colour(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", loop=3, clear=True, blend=0)
    done = made(source)
    assert done.output.name == "a_x2.png"
    found, lengths = shown(done.output)
    assert lengths == pytest.approx([1000 / 15 if length == 0 else length for length in LENGTHS], abs=0.01)
    assert plays_of(done.output, "apng") == 3
    (small,) = {picture.shape for picture in found}
    assert small == (96, 128, 4)
    exact = np.asarray(
        Image.fromarray(np.asarray(pictures(clear=True)[0])[..., :3]).resize((128, 96), Image.Resampling.BICUBIC)
    )
    inside = np.abs(found[0][4:12, 4:-4, :3].astype(int) - exact[4:12, 4:-4])
    assert inside.max() <= 2
    assert isinstance(upscale_video(source, **QUICK), Skipped)
    assert compare(source, done.output).ok


def test_a_film_becomes_a_gif_that_stands_still_where_it_does(tmp_path: Path) -> None:
    """In parts or in one: the palette is that of the whole film, and its pattern does not crawl."""
    slope = np.linspace(16, 235, 64).astype(np.uint8)[None].repeat(48, 0)

    def draw(number: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        luma = slope.copy()
        luma[16:32, 4 * number : 4 * number + 12] = 220
        return [luma, *(np.full(shape, 128, np.uint8) for shape in fmt.plane_shapes(width, height)[1:])]

    source = make_clip(tmp_path / "a.mkv", frames=10, draw=draw, codec="ffv1", audio=[Audio(seconds=0.2)])
    whole = made(source, tmp_path / "a.gif")
    parts = made(source, tmp_path / "b.gif", segment_seconds=0.1)
    assert any("gif cannot hold" in note for note in whole.dropped)
    (one, lengths), (other, _) = shown(whole.output), shown(parts.output)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert sum(lengths) == pytest.approx(10 * 1000 / 24, abs=10)
    assert plays_of(whole.output, "gif") == 0
    still = np.stack([picture[72:] for picture in one])
    assert (still == still[0]).all()
    assert len(np.unique(still[0].reshape(-1, 4), axis=0)) > 16  # dithered, not flat


def test_what_no_player_shows_is_said_before(tmp_path: Path) -> None:
    fast = make_clip(tmp_path / "a.mp4", frames=6, rate=Fraction(60))
    with pytest.raises(UsageError, match="gif shows 50 pictures a second at most, and here are 60; apng, webm and mp4"):
        made(fast, tmp_path / "a.gif")
    wide = make_clip(tmp_path / "b.mp4", frames=2, sample_aspect=Fraction(16, 11))
    with pytest.raises(UsageError, match="gif has square pixels only, and these are 16:11: add --square-pixels"):
        made(wide, tmp_path / "b.gif")
    with pytest.raises(UsageError, match="target size needs a codec with a scale of quality"):
        made(wide, tmp_path / "b.gif", target_size="1MB", square_pixels=True)


def test_pictures_that_come_too_fast_wait_for_their_turn() -> None:
    pts = np.array([5, 45, 50, 55, 60, 200], np.int64)  # milliseconds
    ticks, clock, late = _placed(Times(pts, pts, pts, 240), Fraction(1, 1000), CONTAINERS["gif"])
    assert (ticks, clock, late) == ([0, 4, 6, 8, 10, 20], Fraction(1, 100), Fraction(4, 100))
    ticks, clock, late = _placed(Times(pts, pts, pts, 240), Fraction(1, 1000), CONTAINERS["apng"])
    assert (ticks, clock, late) == ([0, 40, 45, 50, 55, 195], Fraction(1, 1000), 0)


DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
HDR = f"log-level=error:colorprim=9:transfer=16:colormatrix=9:max-cll=1000,400:master-display={DISPLAY}"


def dim(_: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Two shades that are other codes where black is 0."""
    assert fmt.model == "grey"
    return [np.repeat(np.array([17, 30], np.uint8), width // 2)[None].repeat(height, 0)]


def half_clear(_: int, fmt: PixelFormat, width: int, height: int) -> Planes:
    """Bright and coloured where nothing of it is seen."""
    planes = [
        np.full(shape, value, np.uint8)
        for shape, value in zip(fmt.plane_shapes(width, height), (200, 90, 160, 255), strict=True)
    ]
    planes[-1][:, : width // 2] = 0
    return planes


@pytest.mark.parametrize(
    "picture",
    [
        {"pix_fmt": "gray", "codec": "ffv1", "draw": dim},
        {"pix_fmt": "yuv420p10le", "codec": "libx265", "options": {"preset": "ultrafast", "x265-params": HDR}},
        {"pix_fmt": "yuva444p", "codec": "ffv1", "draw": half_clear},
    ],
    ids=["grey", "hdr10", "colours behind what is clear"],
)
def test_what_a_gif_does_not_hold_is_no_fault_of_it(tmp_path: Path, picture: dict[str, Any]) -> None:
    done = made(make_clip(tmp_path / "a.mkv", frames=2, **picture), tmp_path / "a.gif")
    assert len(shown(done.output)[0]) == 2
    assert ("gif has no HDR: its light is not converted, and looks flat" in done.notes) == ("options" in picture)
    assert ("HDR10 mastering metadata is dropped: gif does not carry it" in done.notes) == ("options" in picture)


def test_numbered_images_become_a_gif(tmp_path: Path) -> None:
    for number, one in enumerate(pictures(clear=False)):
        one.save(tmp_path / f"i_{number}.png")
    inputs, _ = expand([str(tmp_path / "i_%d.png")])
    told: list[Event] = []
    run_batch(Batch(inputs, Target(file=tmp_path / "a.gif"), Options(**QUICK), on_event=told.append))
    assert not any(isinstance(event, Failed) for event in told), told
    assert len(shown(tmp_path / "a.gif")[0]) == len(LENGTHS)


def test_a_dark_film_is_as_dark_in_its_gif(tmp_path: Path) -> None:
    """As other programs have it: screens show film and web by one curve."""

    def draw(_: int, fmt: PixelFormat, width: int, height: int) -> Planes:
        return [
            np.full(shape, value, np.uint8)
            for shape, value in zip(fmt.plane_shapes(width, height), (27, 128, 128), strict=True)
        ]

    source = make_clip(tmp_path / "a.mkv", frames=2, codec="ffv1", draw=draw, colour=Colour())
    (first, _), _ = shown(made(source, tmp_path / "a.gif").output)
    assert first[..., :3].mean() == pytest.approx((27 - 16) * 255 / 219, abs=1)


@pytest.mark.parametrize(("clear", "loop"), [(True, 3), (False, 0)])
def test_an_animated_webp_becomes_what_the_same_animated_png_would(tmp_path: Path, clear: bool, loop: int) -> None:
    webp = save(tmp_path / "a.webp", loop=loop, clear=clear, lossless=True, exact=True)
    first, *others = pictures(clear=clear)
    lengths = [length or 100 for length in LENGTHS]
    first.save(tmp_path / "b.apng", save_all=True, append_images=others, duration=lengths, loop=loop)
    done, same = made(webp), made(tmp_path / "b.apng")
    assert done.output.name == "a_x2.apng"
    assert "apng: animated WebP is not written" in " ".join(done.notes)
    found, expected = shown(done.output), shown(same.output)
    assert found[1] == expected[1] == lengths
    for one, other in zip(found[0], expected[0], strict=True):
        assert np.array_equal(one[..., 3], other[..., 3])
        seen = one[..., 3] == 255  # WebP forgets the colour of what is not seen
        assert np.abs(one[seen].astype(int) - other[seen]).max() <= (20 if clear else 0)
    assert plays_of(done.output, "apng") == loop
    assert compare(webp, done.output).differences == ()
    assert isinstance(upscale_video(webp, **QUICK), Skipped)


def test_an_animated_webp_of_equal_pictures_is_refused_as_that(tmp_path: Path) -> None:
    data = save(tmp_path / "a.webp", loop=2, clear=False, lossless=True).read_bytes()
    place = data.index(b"ANMF")
    picture = data[place : place + 8 + int.from_bytes(data[place + 4 : place + 8], "little")]
    data = data[:place] + picture + picture
    (tmp_path / "a.webp").write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    with pytest.raises(MediaError, match="shows one picture all the time"):
        made(tmp_path / "a.webp")


def test_a_webp_of_one_picture_stays_an_image(tmp_path: Path) -> None:
    pictures(clear=True)[0].save(tmp_path / "a.webp")
    pictures(clear=True)[0].save(tmp_path / "b.webp", save_all=True)
    assert {made(tmp_path / name).output.suffix for name in ("a.webp", "b.webp")} == {".webp"}


def test_an_animated_webp_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save(tmp_path / "a.webp", loop=0, clear=False, quality=50)
    with pytest.raises(UsageError, match="There is no output container 'webp': use mp4"):
        made(source, tmp_path / "o.webp")
    cut = tmp_path / "cut.webp"
    cut.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(MediaError, match=r"cut\.webp cannot be read"):
        made(cut)
    monkeypatch.setattr("vidsr.media.read.webp.MAX_TOTAL", 6 * 64 * 48 - 1)
    with pytest.raises(MediaError, match="holds 6 pictures of 64x48, too many at once"):
        made(save(tmp_path / "large.webp", loop=0, clear=False))
