"""Which way of showing fits the options and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vidsr.cli.json_show import JsonShow
from vidsr.cli.show import NO_SIZES, LiveShow, LogShow, Show
from vidsr.cli.steps import is_live, open_console


def shower(*, json: bool, quiet: bool, verbose: int, num_inputs: int, sizes: Mapping[Path, int] = NO_SIZES) -> Show:
    """The way of showing that fits the options and the terminal; `sizes` are those of the sources, in bytes."""
    if json:
        return JsonShow(num_inputs)
    if quiet:
        return Show(num_inputs)
    console = open_console()
    kind = LiveShow if is_live(console) else LogShow
    return kind(num_inputs, console, verbose=verbose, sizes=sizes)
