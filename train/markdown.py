"""Tables in Markdown, for cards, documents and reports."""

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A line for the headings, one that parts them from the rest, and one for each row of as many cells."""
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]
