"""The command line of ``python -m train lease``."""

import argparse
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from train import arguments
from train.lease.parcels import Parcels
from train.lease.plan import LeasePlan, read_plan
from train.lease.running import Lease, keep_compiled, weights_sizes
from vidsr.errors import OutputError, UsageError

log = logging.getLogger("train")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``lease`` to the commands of ``python -m train``."""
    parser = commands.add_parser("lease", help="run a whole plan of training in a fixed number of seconds")
    parser.add_argument("plan", help="a TOML file, or the name of one in train/plans")
    parser.add_argument("--seconds", type=float, required=True, help="from the command's start to its end")
    parser.add_argument("--data", type=Path, action="append", help="folder of photos, instead of the plan's")
    parser.add_argument("--benchmarks", type=Path, help="folder with Set5 and Set14, instead of the plan's")
    parser.add_argument("--out", type=Path, help="folder that comes back, at most 8 files (default: leases/PLAN)")
    parser.add_argument("--work", type=Path, help="folder for everything else (default: OUT-work beside it)")
    parser.add_argument("--resume", action="store_true", help="go on with the phases that are not finished in --out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    plan = read_plan(args.plan)
    plan.check_seconds(args.seconds)
    photos, benchmarks = args.data or list(plan.photos), args.benchmarks or plan.benchmarks
    if not photos:
        raise UsageError(f"The plan {plan.name} names no photos; give a folder with --data.")
    device = arguments.choose_device(args.device)
    out: Path = args.out or Path("leases") / plan.name
    work: Path = args.work or out.with_name(f"{out.name}-work")
    parcels = _open(plan, out, work, args.resume)
    end, reserve = args.began + args.seconds, plan.reserve * args.seconds
    lease = Lease(plan, photos, benchmarks, parcels, work.absolute(), device, end, reserve)
    keep_compiled(lease.work)
    with _logged(out / "lease.log"), _terminated():
        log.info("%s: %d phases in %g s on %s", plan.name, len(plan.phases), args.seconds, arguments.machine(device))
        try:
            whole = lease.run()
        except KeyboardInterrupt:
            whole = False
        log.info("%s after %.1f s", "done" if whole else "stopped", time.monotonic() - args.began)
    print(out)
    return 0 if whole else 130


def _open(plan: LeasePlan, out: Path, work: Path, resume: bool) -> Parcels:
    there = any(out.glob("*.tar"))
    if there and not resume:
        raise OutputError(f"{out} holds a lease already; go on with --resume, or give another --out.")
    parcels = Parcels(out, weights_sizes(plan))
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write into {work} ({error.strerror}); choose another --work.") from error
    if there:
        parcels.unpack(work)
    return parcels


class _Log(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A full disk must not end the training: the line is on stderr, too."""


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What is said goes into a file, too, line by line."""
    try:
        handler = _Log(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write {path} ({error.strerror}); choose another --out.") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        with suppress(OSError):
            handler.close()


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends what is going on as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
