"""What is asked for and has no effect is said, once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from tests.clips import make_clip
from vidsr.jobs.batch import Batch
from vidsr.jobs.events import Event, Started
from vidsr.jobs.inputs import Input, Target
from vidsr.jobs.options import Options
from vidsr.jobs.plan import plan
from vidsr.jobs.preview import Preview
from vidsr.jobs.run import run_batch


def test_what_only_films_have_is_said_once_of_images(tmp_path: Path) -> None:
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for path in pictures:
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
    options = Options(model="bicubic", scale=2, target_size=10**6, steady=0.5, reuse=False, crf=None, grain=0.5)
    inputs = [Input(path, tmp_path, named=True) for path in pictures]
    told: list[Event] = []
    report = run_batch(Batch(inputs, Target(), options, on_event=told.append, preview=Preview(tmp_path / "seen.png")))
    assert len(report.done) == 3
    first, *others = (event.notes for event in told if isinstance(event, Started))
    assert first == (
        "--target-size (target_size), --steady (steady), --no-reuse (reuse), --preview (preview): "
        "of no effect, since images are no film",
    )
    assert others == [(), ()]
    assert [event.notes for event in report.done] == [first, (), ()], "a line a photo is written when it is done"
    film = Input(tmp_path / "a.mp4", tmp_path, named=True)
    assert Batch([*inputs, film], Target(), options).unsaid == [], "it has its effect on the film"


def test_a_rate_is_said_to_be_of_no_effect_on_a_film(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=2)
    job = plan(Input(clip, tmp_path, named=True), Target(), Options(fps=Fraction(30)))
    said = "--fps (fps): of no effect, since the source has its own times"
    assert said in job.notes
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "1.png")
    numbered = Input(tmp_path / "%d.png", tmp_path, named=True, kind="sequence")
    assert said not in plan(numbered, Target(file=tmp_path / "b.mp4"), Options(fps=Fraction(30))).notes
