"""Run by `test_build.py` in a process of its own: `python -m tests.backends.tensorrt.key_changes FOLDER WEIGHTS`.

Builds a real engine by the command line; then, for each field of its key in turn, writes another value into the
manifest, as if the engine had been built so, and builds again. Prints one JSON object: the key that the command line
made, and for each field what stood there and what was said.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.backends.tensorrt.stand_ins import answer_for_a_gpu


def build(weights: str) -> dict[str, Any]:
    """What `vidsr engine build --json` said of one engine."""
    from vidsr.cli.app import app

    out = io.StringIO()
    arguments = ["engine", "build", "rtx4090", "--model", weights, "--size", "64x48", "--json"]
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        app(arguments, prog_name="vidsr")
    (row,) = json.loads(out.getvalue())
    return row  # type: ignore[no-any-return]


def main() -> None:
    folder, weights = sys.argv[1:]
    os.environ["VIDSR_ENGINE_DIR"] = folder
    answer_for_a_gpu()
    first = build(weights)
    (manifest,) = Path(folder).glob("*.json")
    found = {}
    for field, value in first["engine"]["key"].items():
        values = json.loads(manifest.read_text())
        other = value + 1 if isinstance(value, int) else f"{value}9"
        values["key"][field] = other if field != "shapes" else "80x60"
        manifest.write_text(json.dumps(values))
        again = build(weights)
        found[field] = {"other": values["key"][field], "built": again["built"], "reason": again["reason"]}
        assert again["engine"]["key"] == first["engine"]["key"], field
    print(json.dumps({"key": first["engine"]["key"], "found": found, "last": build(weights)["built"]}))


if __name__ == "__main__":
    main()
