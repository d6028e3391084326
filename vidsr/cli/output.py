"""What commands put on stdout: data as JSON, and tables; and numbers as people read them."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vidsr.cli.sentences import filled

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.table import Table

COLUMNS = 1000  # more than any table has


def print_json(value: object) -> None:
    """Print one JSON document, indented."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(plain(value), indent=2, ensure_ascii=not utf8))


def plain(value: object) -> object:
    """`value` in JSON's types: dataclasses become objects, fractions "n/d", bytes hex, paths text, infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def plain_fields(value: DataclassInstance) -> dict[str, object]:
    """The fields of a dataclass by name, as `plain` has them."""
    return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def table(headings: str, rows: Iterable[Iterable[str]] = (), *, right: str = "", fold: bool = False) -> Table:
    """A table of those columns, separated by ``|``; those that `right` names stand on the right.

    With `fold` long cells are broken where the terminal ends; else they never are.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    on_the_right = right.split("|") if right else []
    for heading in headings.split("|"):
        justify: Literal["left", "right"] = "right" if heading in on_the_right else "left"
        made.add_column(heading, justify=justify, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
    for row in rows:
        made.add_row(*row)
    return made


def print_table(made: Table | str, *, fold: bool = False) -> None:
    """On stdout, to be pasted: as wide as it needs to be, or with `fold` as wide as the terminal.

    Without `fold` a table that a terminal is too narrow for becomes a paragraph a row, which names each cell.
    """
    from rich.console import Console

    width = None if fold else COLUMNS
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=not fold, width=width)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() and not fold else COLUMNS
    if isinstance(made, str) or console.measure(made).maximum <= columns:
        console.print(made)
        return
    names = [column.header for column in made.columns]
    for first, *others in zip(*(column.cells for column in made.columns), strict=True):
        said = [f"{name} {cell}".strip() for name, cell in zip(names[1:], others, strict=True) if cell]
        print(filled(f"{first}: {', '.join(said)}", sys.stdout, 2))


def size(width_height: tuple[int, int]) -> str:
    """``1920x1080``."""
    return f"{width_height[0]}x{width_height[1]}"


def span(seconds: float) -> str:
    """``9.5 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
