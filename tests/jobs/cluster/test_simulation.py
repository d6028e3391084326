"""The table of docs/scaling.md is what the script beside it prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "docs" / "simulate_cluster.py"


def printed(*arguments: str) -> list[list[str]]:
    """The cells of each line of the table."""
    command = [sys.executable, str(SCRIPT), *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_no_segment_is_forgotten_and_losses_cost_time() -> None:
    head, _, *rows = printed("--films", "40")
    assert len(rows) == 9
    column = {name: k for k, name in enumerate(head)}
    hours = [float(row[column["all films take"]].removesuffix(" h")) for row in rows]
    work = [float(row[column["GPUs at work"]].removesuffix("%")) for row in rows]
    least = 40 * 6000 / 1.5 / 100 / 3600  # if all GPUs were of the fastest kind
    assert min(hours) > least
    for never, daily, often in zip(hours[::3], hours[1::3], hours[2::3], strict=True):
        assert never <= daily + 0.2
        assert daily <= often
    assert all(0 < share <= 100 for share in work)
    assert [row[column["segments lost"]] for row in rows[::3]] == ["0", "0", "0"]


@pytest.mark.soak
def test_the_table_of_the_document_is_the_scripts() -> None:
    document = (ROOT / "docs" / "scaling.md").read_text()
    command = [sys.executable, str(SCRIPT)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() in document
