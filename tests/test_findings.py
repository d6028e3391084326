"""What is remembered of a GPU: found out once, and again when anything has changed."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from vidsr import files, findings

FACTS = {"gpu": "NVIDIA H200", "capability": [9, 0], "torch": "2.11"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's cache."""
    monkeypatch.setattr(findings, "folder", lambda: tmp_path / "kernels")
    return tmp_path / "kernels"


class Question:
    """Answers one after the other, and how many were asked for."""

    def __init__(self, *answers: str | BaseException | None) -> None:
        self.answers = list(answers)
        self.num_asked = 0

    def __call__(self) -> str | None:
        self.num_asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize("answer", [None, "it is wrong"])
def test_what_is_known_is_not_asked_again(answer: str | None) -> None:
    question = Question(answer)
    assert [findings.why_not_trusted("colour", FACTS, question) for _ in range(3)] == [answer] * 3
    assert question.num_asked == 1


@pytest.mark.parametrize("changed", [{"torch": "2.12"}, {"capability": [9, 1]}, {"code": "of another release"}])
def test_what_has_changed_is_asked_again_and_takes_its_place(changed: dict[str, object], folder: Path) -> None:
    question = Question("it is wrong", None, "it is wrong")
    assert findings.why_not_trusted("colour", FACTS, question) == "it is wrong"
    assert findings.why_not_trusted("colour", FACTS | changed, question) is None
    assert findings.why_not_trusted("colour", FACTS, question) == "it is wrong"
    assert [file.name for file in folder.iterdir()] == ["colour-NVIDIA-H200.json"]


def test_gpus_and_names_are_apart() -> None:
    question = Question("one", "two", "three")
    others = [("colour", FACTS), ("colour", FACTS | {"gpu": "Tesla T4"}), ("network", FACTS)]
    assert [findings.why_not_trusted(name, facts, question) for name, facts in others] == ["one", "two", "three"]
    assert [findings.why_not_trusted(name, facts, question) for name, facts in others] == ["one", "two", "three"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"of": 1}', b'{"of": null, "found": 3}'])
def test_a_damaged_file_is_written_anew(damage: bytes, folder: Path) -> None:
    findings.remember("colour", FACTS, "")
    file = folder / "colour-NVIDIA-H200.json"
    file.write_bytes(damage)
    question = Question("it is wrong")
    assert findings.why_not_trusted("colour", FACTS, question) == "it is wrong"
    assert json.loads(file.read_text())["found"] == "it is wrong"


def test_an_answer_of_another_kind_is_none(folder: Path) -> None:
    findings.remember("colour", FACTS, 3)
    assert findings.why_not_trusted("colour", FACTS, Question("it is wrong")) == "it is wrong"


def test_a_folder_that_cannot_be_written_costs_the_time_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a file is in the way")
    question = Question(None, "it is wrong")
    assert findings.why_not_trusted("colour", FACTS, question) is None
    assert findings.why_not_trusted("colour", FACTS, question) == "it is wrong"
    folder.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    assert findings.why_not_trusted("colour", FACTS, Question(None)) is None


def test_failures_are_answers_but_for_want_of_a_place() -> None:
    full = RuntimeError("Triton: No space left")
    full.__cause__ = OSError(errno.ENOSPC, "No space left")
    question = Question(full, RuntimeError("ptxas fatal\nmore"), None)
    assert findings.why_not_trusted("colour", FACTS, question) == "it fails here: Triton: No space left"
    assert findings.why_not_trusted("colour", FACTS, question) == "it fails here: ptxas fatal"
    assert findings.why_not_trusted("colour", FACTS, question) == "it fails here: ptxas fatal"
    assert question.answers == [None]


def test_want_of_memory_is_no_answer() -> None:
    question = Question(torch.OutOfMemoryError("no"), None)
    with pytest.raises(torch.OutOfMemoryError):
        findings.why_not_trusted("colour", FACTS, question)
    assert findings.why_not_trusted("colour", FACTS, question) is None


def test_versions_and_the_kernels_code_are_facts() -> None:
    facts = findings.machine(torch.device("cpu"))
    assert (facts["gpu"], facts["torch"]) == ("cpu", torch.__version__)
    assert len(str(facts["code"])) == 16
    assert json.loads(json.dumps(facts)) == facts
