"""Files from the field, upscaled, by the word of other programs: `cases.toml` has the table, `recipes.py` the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.field import asking
from tests.field.recipes import RECIPES, make
from tests.field.running import Case, cases, wrongs

KINDS = range(1, 16)
without = pytest.mark.skipif(bool(asking.missing()), reason=f"needs {', '.join(asking.missing())}")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("field")


def _rows() -> Iterator[object]:
    """All cases. Those that ask what a case of the same kind and container before them has asked run in `make soak`."""
    asked = set()
    for case in cases():
        marks = [pytest.mark.xfail(strict=True, reason=f"kind {case.kind}")] if case.wrong else []
        if case.question in asked and not case.found:
            marks.append(pytest.mark.soak)
        asked.add(case.question)
        yield pytest.param(case, id=f"{case.kind} {case.name}", marks=marks)


@without
@pytest.mark.parametrize("case", list(_rows()))
def test_comes_out_right(case: Case, vidsr: Callable[..., Result], files: Path, tmp_path: Path) -> None:
    assert list(wrongs(vidsr, case, make(case.source, files), tmp_path / "out")) == []


def test_the_table_is_whole() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
    assert {case.source for case in cases()} == set(RECIPES), "every file is used, and every case has one"
    assert {case.kind for case in cases()} | {14} == set(KINDS)
