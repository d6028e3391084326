"""Work beside the network: in order, as many at a time as were asked for, and errors behind what came before them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from vidsr.upscaling.workers import Beside, Until, mapped


def squares(number: int) -> int:
    return number * number


def failing(num: int) -> Iterator[int]:
    yield from range(num)
    raise OSError("the disk is gone")


@pytest.mark.parametrize("num", [0, 1, 3, 99])
def test_results_come_in_order(num: int) -> None:
    assert list(mapped(squares, range(20), num)) == [number * number for number in range(20)]


@pytest.mark.parametrize("num", [0, 1, 3])
def test_what_came_before_an_error_comes_out_before_it(num: int) -> None:
    found: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(mapped(squares, failing(7), num))
    assert found == [0, 1, 4, 9, 16, 25, 36]


def test_an_error_of_the_work_itself_ends_all_at_its_place() -> None:
    found: list[float] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(mapped(lambda number: 1 / (number - 3), range(9), 2))
    assert found == [1 / -3, 1 / -2, -1.0]


def test_as_many_are_made_at_a_time_while_the_next_one_comes() -> None:
    """Two that wait for each other, and the source for both."""
    meet, seen = threading.Barrier(3, timeout=20), list[int]()

    def items() -> Iterator[int]:
        yield from (0, 1)
        meet.wait()
        yield 2

    def work(number: int) -> int:
        if number < 2:
            meet.wait()
        seen.append(number)
        return number

    assert list(mapped(work, items(), 2)) == [0, 1, 2]
    assert sorted(seen) == [0, 1, 2]


def test_one_that_is_left_leaves_no_thread() -> None:
    results = mapped(squares, range(9), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name == "vidsr-beside"]


def test_until_ends_where_its_source_fails_and_says_so_when_asked() -> None:
    until = Until(failing(2))
    assert list(until) == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        until.check()
    whole = Until(range(3))
    assert list(whole) == [0, 1, 2]
    whole.check()


def test_beside_gives_what_was_returned_or_raised() -> None:
    assert Beside(lambda: 7).result() == 7
    with pytest.raises(ZeroDivisionError):
        Beside(lambda: 1 // 0).result()
