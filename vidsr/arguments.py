"""What callers from Python give, held to the types that are declared for it, before anything is done. A leaf."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from numbers import Integral, Rational, Real
from os import PathLike, fspath
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vidsr.errors import UsageError

_WORDS: dict[object, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Fraction: "a number",
    str: "text",
    Path: "a path",
    NoneType: "None",
}
_SHOWN = 60  # characters of a value that is refused


def checked(values: Mapping[str, object], declared: type, *, seconds: tuple[str, ...] = ()) -> dict[str, Any]:
    """`values` as the annotations of `declared` say: numbers and text of numpy or an enum become Python's, 2.0 whole.

    Times are those that `seconds` names. What is text, or a number, may still be an impossible one.

    Raises:
        UsageError: a value of another type, or a time that is not finite.
    """
    hints = _hints(declared)
    return {
        name: checked_one(name, value, hints[name], " of seconds" if name in seconds else "")
        if name in hints
        else value
        for name, value in values.items()
    }


def checked_one(name: str, value: object, hint: object, of: str = "") -> Any:
    """`value` of the parameter `name` as `hint` says; numbers are those `of` something, in words.

    Raises:
        UsageError: it is of another type, or a fraction that is not finite.
    """
    kinds = _kinds(hint)
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        value = bool(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        if (number := _number(value, kinds)) is not None:
            return number
    elif isinstance(value, bool):
        if bool in kinds:
            return value
    elif any(isinstance(value, str if get_origin(kind) is Literal else _class(kind)) for kind in kinds):
        return str.__str__(value) if isinstance(value, str) else value  # an enum's text is not its name
    words = " or ".join(dict.fromkeys(_word(kind, of) for kind in kinds))
    raise UsageError(f"{name} must be {words}, not {_shown(value)}")


def checked_name(name: str, value: object) -> str:
    """`value` of the parameter `name` as the name of a file.

    Raises:
        UsageError: neither text nor a path.
    """
    text = fspath(value) if isinstance(value, str | PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{name} must be text or a path, not {_shown(value)}")
    return str.__str__(text)


@cache
def _hints(declared: type) -> dict[str, Any]:
    return get_type_hints(declared)


def _kinds(hint: object) -> tuple[object, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _class(kind: object) -> type:
    return kind if isinstance(kind, type) else NoneType


def _number(value: Real, kinds: tuple[object, ...]) -> int | float | Fraction | None:
    """Python's own number of the same value; None where `kinds` hold none that it can be."""
    if isinstance(value, Integral):
        return int(value) if {int, float, Fraction} & set(kinds) else None
    if float in kinds or Fraction in kinds:
        if Fraction in kinds and not math.isfinite(value):
            return None
        return Fraction(value) if isinstance(value, Rational) else float(value)
    number = float(value)
    return int(number) if int in kinds and number.is_integer() else None


def _word(kind: object, of: str) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    word = _WORDS.get(kind) or f"a {getattr(kind, '__name__', kind)}"
    return word + of if kind in (float, Fraction) else word


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"a value of type {type(value).__name__}"
