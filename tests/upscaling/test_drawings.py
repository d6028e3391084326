"""Which frames a frame is blended with: the pictures around its own, however long each of them is held."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from vidsr.frame import SRGB, Frame, PixelFormat, Plane
from vidsr.upscaling.drawings import REACH, Chosen, chosen, gathered

CUT = "|"


def film(pictures: str, noise: float = 0.3, step: float = 2) -> list[Frame]:
    """A frame for each letter: a texture that goes right by `step` pixels from one letter to the next, noise on it.

    What follows a bar is of another shot.
    """
    found, random, shot = list[Frame](), np.random.default_rng(1), 0
    for letter in pictures:
        shot += letter == CUT
        if letter == CUT:
            continue
        x = np.arange(64) - step * (ord(letter) - ord("a"))
        luma = 90 + 60 * shot + 30 * np.sin(x / 3) + 20 * np.sin(np.arange(48) / (5 + 20 * shot) + shot)[:, None]
        luma = (luma + random.normal(0, noise, luma.shape)).round().clip(0, 255).astype(np.uint8)
        found.append(Frame((luma,), PixelFormat("grey"), SRGB, len(found), Fraction(1)))
    return found


@pytest.mark.parametrize(
    ("pictures", "others"),
    [
        ("abcde", ["1", "02", "13", "24", "3"]),
        ("aabbccdd", ["1", "0", "14", "14", "36", "36", "7", "6"]),
        ("aaabbcccdd", ["1", "02", "1", "25", "25", "48", "48", "48", "9", "8"]),
        ("aaaabbbbcccc", ["1", "02", "13", "2", "5", "46", "57", "6", "9", "8A", "9B", "A"]),  # too long to look over
        ("aabbbbbcc", ["1", "0", "3", "24", "35", "46", "5", "8", "7"]),
        ("abbbc", ["1", "04", "04", "04", "3"]),
        ("abc|def", ["1", "02", "1", "4", "35", "4"]),
        ("abb|bbc", ["1", "2", "1", "4", "3", "4"]),
        ("a", [""]),
    ],
)
def test_neighbours_are_the_nearest_frames_of_other_pictures(pictures: str, others: list[str]) -> None:
    found = list(chosen(film(pictures)))
    assert ["".join(f"{number:X}" for number in one.others) for one in found] == others
    assert [one.number for one in found] == list(range(len(others)))
    assert [one.num_uses for one in found] == [sum(f"{k:X}" in each for each in others) for k in range(len(others))]


def test_a_still_film_has_no_neighbours_and_a_noisy_one_has() -> None:
    assert all(not one.others for one in chosen(film("aaaa", noise=0)))
    assert [list(one.others) for one in chosen(film("aaaa", noise=2))] == [[1], [0, 2], [1, 3], [2]]


@pytest.mark.parametrize(
    ("pictures", "made"),
    [("abcDEFghi", [2, 3, 4, 5, 6]), ("aabBCCddd", [1, 3, 4, 5, 6]), ("aaaBBccc", [2, 3, 4, 5]), ("abcdefg", [])],
)
def test_of_what_is_aside_only_neighbours_are_made(pictures: str, made: list[int]) -> None:
    """Capitals are wanted."""
    frames = film(pictures.lower())
    aside = [replace(frame, aside=letter.islower()) for frame, letter in zip(frames, pictures, strict=True)]
    found = list(chosen(aside))
    assert [one.number for one in found] == made
    for own, others in gathered((one, one.frame) for one in found):
        assert own[0].pts == own[1].pts
        assert len(others) == 2


@pytest.mark.parametrize(
    ("pictures", "most"), [("abcdefghijkl", 3), ("aabbccddeeff", 4), ("aaabbbcccddd", 5), ("ab|cdd|efghij", 4)]
)
def test_results_go_to_their_frames_and_are_kept_no_longer_than_needed(pictures: str, most: int) -> None:
    wanted = list(chosen(film(pictures)))
    given = iter(chosen(film(pictures)))
    read, kept = 0, list[weakref.ref[Plane]]()

    def made() -> Iterator[tuple[Chosen, Frame]]:
        nonlocal read
        for one in given:
            read += 1
            large = np.full((2, 2), one.number, np.uint8)
            kept.append(weakref.ref(large))
            yield one, replace(one.frame, planes=(large,))

    found = gathered(made())
    for one in wanted:
        own, others = next(found)
        assert [int(large.planes[0][0, 0]) for _, large in (own, *others)] == [one.number, *one.others]
        assert read <= one.number + 1 + REACH
        assert sum(plane() is not None for plane in kept) <= most
        del own, others
    assert next(found, None) is None


def test_a_change_of_light_is_no_motion() -> None:
    """A camera that hardly moves, under a lamp that flickers."""
    frames = [
        replace(frame, planes=(frame.planes[0] + np.uint8(5 * (k % 2)),))
        for k, frame in enumerate(film("abcdefgh", step=0.3))
    ]
    assert [list(one.others) for one in chosen(frames)][1:-1] == [[k - 1, k + 1] for k in range(1, 7)]
