"""Which frames a frame is blended with: the pictures around its own, however long each of them is held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from vidsr.frame import SRGB, Frame, PixelFormat
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
        luma = 90 + 60 * shot + 30 * np.sin(x / 3 + shot) + 20 * np.sin(np.arange(48) / 5)[:, None]
        luma = (luma + random.normal(0, noise, luma.shape)).round().clip(0, 255).astype(np.uint8)
        found.append(Frame((luma,), PixelFormat("grey"), SRGB, len(found), Fraction(1)))
    return found


@pytest.mark.parametrize(
    ("pictures", "others"),
    [
        ("abcde", ["1", "02", "13", "24", "3"]),
        ("aabbccdd", ["1", "0", "14", "14", "36", "36", "7", "6"]),
        ("aaabbcccdd", ["1", "02", "1", "25", "25", "48", "48", "48", "9", "8"]),
        ("aaaabbbbcccc", ["1", "02", "13", "2", "5", "38", "38", "6", "9", "8A", "9B", "A"]),  # too long to look over
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


@pytest.mark.parametrize("pictures", ["abcdefgh", "aabbccddee", "aaabbcccddeee", "ab|cdd|e"])
def test_results_go_to_their_frames_and_are_kept_no_longer_than_needed(pictures: str) -> None:
    frames = film(pictures)
    wanted = list(chosen(frames))
    given = iter(chosen(frames))
    read = 0

    def made() -> Iterator[tuple[Chosen, Frame]]:
        nonlocal read
        for one in given:
            read += 1
            yield one, replace(one.frame, duration=one.number + 100)

    for one, (own, others) in zip(wanted, gathered(made()), strict=True):
        assert own[1].duration == one.number + 100
        assert [large.duration - 100 for _, large in others] == list(one.others)
        assert read <= one.number + 1 + REACH
