"""Run one job of a sweep in its own process, with its own environment and its output in ``run.log``.

There Ctrl-C is left to the launcher, and SIGTERM ends the run as interrupted. Should the process die, ``close`` writes its
record.
"""

import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from superpositional.records import locks
from superpositional.sweeps.plan import Job
from superpositional.training import ranks

# Of libraries with threads of their own beside torch's, which the run sets: runs side by side must not fight for cores.
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
# W&B's process of whoever starts the run, who may end before it: each run has its own.
SERVICE = "WANDB_SERVICE"
# By these Lightning would take a run within a job of Slurm's for one process of several, and requeue it by itself.
SLURM_TASKS = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME", "SLURM_PROCID", "SLURM_LOCALID")


def start(job: Job, context: BaseContext, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """Start a job's process: from its folder's checkpoint if there is one, else from nothing.

    Args:
        job: what to run.
        context: how multiprocessing makes the process: "forkserver" here, "fork" of a task of Slurm's that does no more.
        environment: variables beside or instead of this process's own, such as the GPU to use.
    """
    own = {key: value for key, value in os.environ.items() if key not in (*SLURM_TASKS, SERVICE)}
    threads = dict.fromkeys(THREAD_COUNTS, str(job.config["threads"]))
    resume = job.prepare()
    process = context.Process(target=_live, args=(job, own | threads | dict(environment or {}), resume), name=job.name)
    # A process imports the script of whoever started it, which without a main guard would start a sweep again. No run
    # needs it, so none is there meanwhile.
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = script
    return process


def close(job: Job, process: BaseProcess, *, stopped: bool = False) -> dict[str, Any]:
    """Wait for a job's process to end; its record, written here if the process could not.

    ``stopped``: it was told to end, which makes of a run without a record an interrupted one and no failed one. So does a
    SIGTERM before the process could heed it.
    """
    process.join()
    # A fork server that was killed takes the news of its children along: they are at work still.
    while job.is_running():
        time.sleep(0.5)
    code = process.exitcode
    how = (
        f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with exit code {code}"
    )
    status = "interrupted" if stopped or code == -signal.SIGTERM else "failed"
    job.close(f"{how} before the run's record was written; see run.log", status)
    return job.record()


def _live(job: Job, environment: dict[str, str], resume: bool) -> None:
    """A worker's whole life: one run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ranks.interrupt_on_sigterm([])
    ranks.keep_memory()
    # Slurm's notice before the end goes to every process of the job; the task answers it, by a SIGTERM to this one.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR2})
    # A fork server keeps the environment of whoever started it first.
    os.environ.clear()
    os.environ.update(environment)
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        with locks.alone_in(job.folder):
            if not resume:
                os.ftruncate(log, 0)
            record = _run(job, resume)
            # Without the interpreter's teardown, which waits for what torch and wandb have registered: a second per run.
            sys.stdout.flush()
            os._exit(0 if record["status"] == "done" else 1)
    except BaseException:
        traceback.print_exc()
        raise


def _run(job: Job, resume: bool) -> dict[str, Any]:
    from superpositional.training import config as configs
    from superpositional.training.run import run_alone

    # The user's own modules, which a config names, are imported by each run anew.
    if job.code.own and configs.code(job.config).own != job.code.own:
        job.close("the user's own code has changed since the sweep was planned; call it again")
        return job.record()
    return run_alone(job.config, job.folder, code=job.code, resume=resume)


def cores() -> int:
    """The cores this process may use, which a container or taskset may have made fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def takes_gpu(trainer: Mapping[str, Any]) -> bool:
    return trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda")


def gpus() -> list[str]:
    """The GPUs this process may use, by the names that CUDA_VISIBLE_DEVICES takes; asked without touching one."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (named or [str(number) for number in range(count)])[:count]
