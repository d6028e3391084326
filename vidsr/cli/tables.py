"""Tables on stdout, to be pasted: as wide as they need to be, whatever the terminal."""

from __future__ import annotations

from typing import Any

COLUMNS = 1000  # more than any table has


def open_wide() -> Any:
    """A console for stdout that neither wraps nor cuts."""
    from rich.console import Console

    return Console(markup=False, highlight=False, soft_wrap=True, width=COLUMNS)


def table(headings: str, right: str = "") -> Any:
    """An empty table of those columns, separated by ``|``; those that `right` names stand on the right."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for heading in headings.split("|"):
        made.add_column(heading, justify="right" if heading in right.split("|") else "left", no_wrap=True)
    return made
