"""How long a film takes, by counting, the quick network where that is long, and what is faster."""

from __future__ import annotations

from dataclasses import replace

from vidsr.backends import Unit, hardware, may_use_gpu
from vidsr.jobs.manifest import read_facts
from vidsr.jobs.networks import native
from vidsr.jobs.plan import Plan
from vidsr.jobs.video import work_folder
from vidsr.models import registry

CORE = 1e11  # operations a second of one core in FP32: OpenVINO makes 0.8 of it with AVX2, and 1.4 with AVX-512
PATIENCE = 4  # times the film's length
SHORT = 60.0  # seconds: what takes no longer is made as well as can be


def paced(job: Plan, *, resume: bool = True) -> Plan:
    """`job` with the quick network, and a note of it, where nobody named a model and the usual one takes too long.

    It is counted, never timed: the same command makes the same choice on the same machine, whatever else that does
    meanwhile, so that a job that was stopped goes on, and an output that exists is known again. A job that was begun
    keeps its network.
    """
    usual, quick = (registry.default_model(native(job.scale), quick=quick)[0] for quick in (False, True))
    if job.options.model != "auto" or usual == quick or _on_gpu(job):
        return job
    begun = read_facts(work_folder(job.output)) if resume else None
    named = (begun or {}).get("model")
    times = slowness(job, usual)
    if named != quick and (named == usual or times is None):
        return job
    cores = _cores(job)
    why = (
        f"{quick}, with which this job was begun"
        if times is None
        else f"{quick}: {usual} would take about {times:.0f} times the film's length on {cores} "
        f"{'core' if cores == 1 else 'cores'}"
    )
    note = f"{why}; --model {usual} (model={usual!r}) is sharper"
    return replace(job, options=replace(job.options, model=registry.QUICK), notes=(*job.notes, note))


def slowness(job: Plan, model: str) -> float | None:
    """How many times the film's length `model` takes here, by counting; None where one can wait for it.

    What counts is the whole film, also where a part of it is asked for, so that the part shows what the film becomes.
    """
    video, duration = job.source.video, job.source.video.duration
    macs = int(str(registry.find(model, native(job.scale)).metadata.get("macs_per_pixel", 0)))
    times = 2 * macs * video.width * video.height * float(job.rate) / (CORE * _cores(job))
    return times if duration is not None and too_long(times * float(duration), float(duration)) else None


def too_long(seconds: float, length: float) -> bool:
    """Whether a film of `length` that takes `seconds` is one for the quick network."""
    return seconds > max(SHORT, PATIENCE * length)


def faster(model: str) -> str:
    """What may be done about a job of `model` that takes long."""
    least = model.startswith((registry.QUICKEST, registry.BICUBIC))
    smaller = "" if least else f"a smaller model (--model {registry.QUICKEST}), "
    return f"an NVIDIA GPU, {smaller}a smaller --scale or --size; --start and --end try a part"


def _cores(job: Plan) -> int:
    return min(job.options.threads or hardware.num_cores(), hardware.num_cores())


def _on_gpu(job: Plan) -> bool:
    """Whether a GPU or NPU is asked for, or one of NVIDIA or Apple would be taken: then nobody has to wait.

    Others that `auto` may find are as slow as a processor, or many times faster: its cores are counted.
    """
    backend, kind = job.options.backend, Unit.of(job.options.device).kind
    if kind != "auto":
        return kind != "cpu"
    if backend in ("auto", "mps") and hardware.has_apple():
        return True
    return may_use_gpu(backend) and hardware.has_nvidia()
