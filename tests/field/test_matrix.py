"""Every container to every container: no cell fails after pictures were made, none is silent, the document is true."""

from __future__ import annotations

import json

import pytest

from tests.field import asking, matrix


@pytest.mark.soak
@pytest.mark.skipif(bool(asking.missing()), reason=f"needs {', '.join(asking.missing())}")
@pytest.mark.parametrize("name", [thing.name for thing in matrix.things()])
def test_what_becomes_of_a_stream(name: str) -> None:
    found = matrix.row(name)
    assert [(c, o, w) for o, cells in found.items() for c, (_, w) in cells.items() if w] == []
    written = json.loads(matrix.KEPT.read_text()).get(name, {})
    assert matrix.kept(found) == written, "run python -m tests.field.matrix and python scripts/figures.py"
