"""What a cluster has room for, and what a worker says of its own machine; without Ray."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from vidsr.errors import BackendError, UsageError
from vidsr.jobs.cluster import workers
from vidsr.jobs.cluster.worker import Weights, Worker
from vidsr.jobs.cluster.workers import LOCAL, Cluster
from vidsr.jobs.options import Options
from vidsr.stages import heard
from vidsr.words import first_line


def room(address: str, threads: int, *cores: float) -> int:
    return of_machines(address, threads, *cores)._room()


def of_machines(address: str, threads: int, *cores: float) -> Cluster:
    """With so many cores each, beside one that is gone."""
    cluster = object.__new__(Cluster)
    nodes = [{"Alive": True, "Resources": {"CPU": each}} for each in cores]
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    cluster.ray = SimpleNamespace(cluster_resources=lambda: {"CPU": sum(cores)}, nodes=lambda: [*nodes, gone])  # type: ignore[assignment]
    cluster._options, cluster._address = Options(backend="cpu", threads=threads), address
    return cluster


def test_a_worker_has_its_cores_on_one_machine() -> None:
    assert room("auto", 2, 3.0, 3.0) == 2
    assert room("auto", 4, 3.0, 3.0) == 0, "a larger one may still come"
    assert room("auto", 1) == 0
    assert room(LOCAL, 2, 2.0) == 1
    with pytest.raises(UsageError, match="threads 3 are more than the 2 cores"):
        room(LOCAL, 3, 2.0)


def test_more_cores_than_any_machine_has_are_said_at_once_and_in_the_end() -> None:
    told: list[str] = []
    for threads, said in ((4, "workers"), (9, "no machine has 9 cores for --threads, the largest 4")):
        cluster = of_machines("auto", threads, 4.0, 2.0)
        cluster.slots, cluster._hellos, cluster._lonely = [], {}, -float("inf")
        with heard(lambda name, _: told.append(name)), pytest.raises(BackendError) as error:
            cluster.hello(2)
        assert set(told) == {said}
        assert (f"({said})" in str(error.value)) == (threads == 9)
        told.clear()


def test_a_full_disk_of_a_worker_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    worker = Worker(Options(model="own.safetensors", backend="cpu"), Weights("own.safetensors", b""), None)
    for answer in (worker.hello(2), worker.image(2, None, None)):  # type: ignore[arg-type]
        assert isinstance(answer, BackendError)
        assert str(answer).startswith("the worker on ")
        assert str(answer).endswith(": No such file or directory")


def test_a_file_that_is_called_as_a_model_is_not_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fast").write_bytes(b"something else")
    Path("own.safetensors").write_bytes(b"weights")
    assert workers._weights("fast") is None
    assert workers._weights("own.safetensors") == Weights("own.safetensors", b"weights")


def test_an_error_without_words_has_its_name() -> None:
    assert first_line(TimeoutError()) == "TimeoutError"
