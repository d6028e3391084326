"""Values of callers from Python, held to the declared types."""

from __future__ import annotations

from enum import Enum, StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pytest

from vidsr.arguments import checked, checked_name, checked_one
from vidsr.errors import UsageError
from vidsr.jobs.options import Options


class _Codec(StrEnum):
    H264 = "h264"


class _Older(str, Enum):  # noqa: UP042  (whose text is the name of the member, unlike that of a StrEnum)
    FILM = "a/b.mp4"


class _Declared(TypedDict, total=False):
    scale: float | None
    tile: int | Literal["auto", "off"]
    start: float | Fraction | None
    reuse: bool
    kind: Literal["a", "b"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("scale", np.float32(2.5), 2.5),
        ("scale", np.int64(2), 2),
        ("scale", None, None),
        ("tile", 256.0, 256),
        ("tile", "off", "off"),
        ("start", Fraction(1, 3), Fraction(1, 3)),
        ("reuse", False, False),
        ("kind", _Older.FILM, "a/b.mp4"),
        ("kind", np.str_("a"), "a"),
        ("kind", "c", "c"),  # text: what it may be is for its owner to say
    ],
)
def test_values_become_those_of_python(name: str, value: object, expected: object) -> None:
    found = checked({name: value}, _Declared)[name]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scale", "4", "scale must be a number or None, not '4'"),
        ("scale", True, "scale must be a number or None, not True"),
        ("tile", 256.5, "tile must be a whole number or 'auto' or 'off', not 256.5"),
        ("tile", None, "tile must be a whole number or 'auto' or 'off', not None"),
        ("start", "0:10", "start must be a number of seconds or None, not '0:10'"),
        ("start", float("nan"), "start must be a number of seconds or None, not nan"),
        ("reuse", "no", "reuse must be True or False, not 'no'"),
        ("reuse", 1, "reuse must be True or False, not 1"),
        ("kind", 5, "kind must be 'a' or 'b', not 5"),
        ("scale", ["x" * 90], "scale must be a number or None, not a value of type list"),
    ],
)
def test_another_type_is_bad_usage(name: str, value: object, words: str) -> None:
    with pytest.raises(UsageError) as error:
        checked({name: value}, _Declared, seconds=("start",))
    assert str(error.value) == words


def test_names_of_files() -> None:
    assert checked_name("source", Path("a/b.mp4")) == str(Path("a/b.mp4"))
    assert Path(checked_name("source", _Older.FILM)) == Path("a/b.mp4"), "not the name of the enum's member"
    assert checked_name("output", "out/") == "out/"  # the slash says that it is a folder
    wrong: list[Any] = [None, 5, b"clip.mp4"]
    for value in wrong:
        with pytest.raises(UsageError, match="source must be text or a path, not"):
            checked_name("source", value)
    with pytest.raises(UsageError, match="model must be text or a path, not 3"):
        checked_one("model", 3, str | Path)


def test_truth_is_no_number_and_that_of_numpy_is_pythons() -> None:
    assert type(Options(codec=_Codec.H264).codec) is str
    assert Options(keep_going=np.True_).keep_going is True  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads must be a whole number"):
        Options(threads=True)
