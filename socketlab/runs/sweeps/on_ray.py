"""Jobs on a Ray cluster: Ray places them, and begins again what a lost node or worker had."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from socketlab.data.schema import Say
from socketlab.runs.notebooks import KernelDied
from socketlab.runs.places import home
from socketlab.runs.signals import PATIENCE, Terminated
from socketlab.runs.sweeps.grid import Resources
from socketlab.runs.sweeps.ray_security import check_join, secure_environment, start_options
from socketlab.runs.sweeps.record import Job, SweepError
from socketlab.runs.sweeps.work import Outcome, lacking, perform, refuse
from socketlab.training.controls import PREEMPTED

ENDING: Final = ".ending"
"""In a sweep's folder while it was told to end: its workers, on all nodes, look for it."""
SOONER: Final = {
    "RAY_grpc_client_keepalive_time_ms": "65000",  # Ray's servers refuse pings within 60 s
    "RAY_grpc_client_keepalive_timeout_ms": "55000",
}
"""Two minutes, not Ray's seven, until a run is begun again whose node went without a word.

Ray knows after half a minute that the node is dead; but whoever waits for an answer from it goes on
waiting until its own connection is.
"""


def connect(address: str | None, *, expose: bool = False, say: Say = print) -> None:
    """Join the cluster at `address`, or start one on this machine, which is its own alone.

    Raises:
        SweepError: without Ray, or where the cluster cannot be reached.
        RaySecurityError: where it is open to everybody, and `expose` is not given.
    """
    os.environ.update(secure_environment(address))
    for name, value in SOONER.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as missing:
        raise SweepError(
            "--engine ray needs the extra `cluster`: pip install 'socketlab[cluster]'."
        ) from missing
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        # By itself it would join any cluster that it finds on this machine.
        ray.init(address="local", **quiet, **start_options(expose))
        return
    warning = check_join(address, expose)
    if warning:
        say(f"Warning: {warning}.")
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SweepError(f"The Ray cluster at {address!r} cannot be joined: {error}") from error


def wanted(resources: Resources) -> dict[str, Any]:
    """What one run asks of the cluster, as Ray's tasks say it.

    Raises:
        SweepError: where no node has that much.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    there = max((node.get("GPU", 0) for node in nodes), default=0)
    gpus = resources.gpus if resources.gpus != "auto" else float(there > 0)
    memory = int(resources.memory * 2**30)
    asked = {"CPU": resources.cpus, "GPU": gpus, "memory": memory}
    if not any(all(node.get(name, 0) >= value for name, value in asked.items()) for node in nodes):
        most = {name: max((n.get(name, 0) for n in nodes), default=0) for name in asked}
        raise SweepError(
            f"No node of the cluster has what one run asks for: {asked}; the most that is there: "
            f"{most}. Change `resources`."
        )
    return {
        "num_cpus": resources.cpus,
        "num_gpus": gpus,
        **({"memory": memory} if memory else {}),
    }


def run_on_ray(
    jobs: Sequence[Job],
    folder: Path,
    *,
    resources: Resources,
    retries: int,
    told: Callable[[Job, Outcome | None], None],
    warm: bool = True,
) -> dict[str, Outcome]:
    """Run jobs on the cluster that this process is connected to; `told` hears of each that ends.

    A job whose worker, kernel or node was lost is begun again up to `retries` times, elsewhere if
    need be; it goes on after its last saved state. After SIGTERM or Ctrl+C none is begun any more,
    and those at work save and end.

    Raises:
        Terminated, KeyboardInterrupt: when they have.
    """
    import ray

    threads = {"OMP_NUM_THREADS": str(resources.cpus)}
    place, ending = home(), folder / ENDING
    ending.unlink(missing_ok=True)

    def work(job: Job, *needed: Outcome) -> Outcome:
        reason = lacking(job, needed)
        if reason:
            return refuse(job, folder, reason)
        with ends_with(ending):
            if ending.exists():
                return Outcome(job.name, "stopped", "not begun")
            try:
                return perform(
                    job, folder, place, environment=threads, warm=warm, seconds=resources.seconds
                )
            except Terminated:
                return Outcome(job.name, "stopped", PREEMPTED)

    again = {"max_retries": retries, "retry_exceptions": [KernelDied]}
    # A worker that was given a GPU would end after one run, and take its warm kernels with it.
    remote = ray.remote(max_calls=0, **again, **wanted(resources))(work)
    by_reference: dict[Any, Job] = {}
    references: dict[str, Any] = {}
    for job in jobs:
        needed = [references[name] for name in job.after]
        # Over all nodes, so that the loss of one costs the fewest.
        task = remote.options(name=job.name, scheduling_strategy="SPREAD")
        references[job.name] = task.remote(job, *needed)
        by_reference[references[job.name]] = job
    found: dict[str, Outcome] = {}
    told_to_end = threading.Event()

    def end(*_about: object) -> None:
        told_to_end.set()
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        _gather(by_reference, found, folder, told)
    except (SystemExit, KeyboardInterrupt):  # Ray makes another SystemExit of ours
        ending.touch()
        ray.wait(list(by_reference), num_returns=len(by_reference), timeout=PATIENCE)
        if told_to_end.is_set():
            raise Terminated from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return found


def _gather(
    jobs: dict[Any, Job],
    found: dict[str, Outcome],
    folder: Path,
    told: Callable[[Job, Outcome | None], None],
) -> None:
    """Wait for all jobs, by their references in Ray, and write down what Ray says of those lost."""
    import ray
    from ray.exceptions import RayError

    waiting = list(jobs)
    while waiting:
        (ended, *_), waiting = ray.wait(waiting, num_returns=1)
        job = jobs[ended]
        try:
            outcome = ray.get(ended)
        except RayError as error:
            reason = lacking(job, [found[name] for name in job.after if name in found])
            outcome = refuse(job, folder, reason or _said(error))
        found[job.name] = outcome
        told(job, outcome)


@contextmanager
def ends_with(file: Path) -> Iterator[None]:
    """Within it this process is sent SIGTERM when `file` appears, on whatever machine it was made.

    Ray tells a task of nothing but its cancellation, which leaves no time to save.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            if file.exists():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _said(error: Exception) -> str:
    """The last line of what Ray says, which is the cause."""
    cause = getattr(error, "cause", None)
    lines = str(cause or error).strip().splitlines()
    return f"{type(cause or error).__name__}: {lines[-1].strip() if lines else 'no message'}"
