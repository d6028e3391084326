"""Which way of showing fits the options and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vidsr.cli.json_show import JsonShow
from vidsr.cli.live import LiveShow
from vidsr.cli.show import NO_SIZES, LogShow, Show
from vidsr.cli.steps import is_live, open_console
from vidsr.stages import StageTimes


def shower(
    *,
    json: bool,
    quiet: bool,
    verbose: int,
    num_inputs: int,
    sizes: Mapping[Path, int] = NO_SIZES,
    times: StageTimes | None = None,
) -> Show:
    """The way of showing that fits the options and the terminal; `sizes` are those of the sources, in bytes.

    `times` holds the stages that are over already.
    """
    if json:
        return JsonShow(num_inputs)
    if quiet:
        return Show(num_inputs)
    console = open_console()
    kind = LiveShow if is_live(console) else LogShow
    return kind(num_inputs, console, verbose=verbose, sizes=sizes, times=times)
