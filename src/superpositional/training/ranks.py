"""Processes that train a run: their signals, their memory, and how several of them meet.

The first one starts the others, one for each further device, on the same config, and alone keeps the record. They meet as
Lightning has it (DDP, FSDP2).
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# How long the first may take to see by itself that another is gone.
GRACE_SECONDS = 30.0

# glibc's names for numbers of mallopt, and bytes for each.
TRIM_THRESHOLD, MMAP_THRESHOLD = (-1, 1 << 27), (-3, 1 << 25)


def keep_memory() -> None:
    """Let this process, which trains and does nothing else, keep the memory that a step frees for the next one.

    A tenth of a small model's time on a CPU: else glibc returns it at every step, and the next one waits for each page.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    for setting in (TRIM_THRESHOLD, MMAP_THRESHOLD) if hasattr(libc, "mallopt") else ():
        libc.mallopt(*setting)


def interrupt_on_sigterm(told: list[int]) -> None:
    """Let SIGTERM end this process's run as Ctrl-C does, and append the signal to ``told`` once it has come.

    Nothing in a thread beside the main one, which alone may set handlers.
    """

    def interrupt(number: int, _: Any) -> None:
        # Once is enough: another SIGTERM must not disturb the writing of the record.
        if not told:
            told.append(number)
            raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def leave_sigterm_alone(trainer: Any) -> None:
    """Keep Lightning from answering SIGTERM by a broadcast: a run of several processes would wait for it forever."""
    # It has no public switch; other handlers of Lightning's, and those that stand already, are called as before.
    trainer._signal_connector._sigterm_notifier_fn = lambda *_: None


@contextlib.contextmanager
def joined(trainer: Any, folder: Path, checkpoint: Path | None, lost: Callable[[str], None]) -> Iterator[None]:
    """Keep the other processes of a run at work while the block lasts; do nothing for a run on one device.

    Args:
        trainer: the first process's, not yet at work.
        folder: the run's, with its ``config.yaml``.
        checkpoint: to resume from.
        lost: called with the reason if another process ends early and this one does not notice; must end this one.
    """
    others = trainer.strategy.num_processes - 1 if trainer.num_devices > 1 else 0
    if not others:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # By these Lightning knows that the processes are there already.
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(others + 1)}
    meeting |= {"NODE_RANK": "0", "LOCAL_RANK": "0"}
    command = [sys.executable, "-m", "superpositional.training.fit", folder, *([checkpoint] if checkpoint else [])]
    environments = [{**os.environ, **meeting, "LOCAL_RANK": str(rank)} for rank in range(1, others + 1)]
    started = [subprocess.Popen(command, env=environment) for environment in environments]
    over = threading.Event()
    threading.Thread(target=_watch, args=(started, over, lost), daemon=True).start()
    os.environ.update(meeting)
    try:
        yield
        # They end with their own tests of the model; an error of theirs is this run's.
        for process in started:
            if code := process.wait():
                raise RuntimeError(f"process {process.args} ended with exit code {code}; see what it printed above")
    finally:
        over.set()
        for name in meeting:
            os.environ.pop(name, None)
        _end(started)
        part()


def part() -> None:
    """Leave the process group, in each process at its end.

    Left to the interpreter's end, gloo's threads let go of tensors while it is torn down, and now and then that aborts a
    process whose work is done (pytorch/pytorch#179291).
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _watch(started: list[subprocess.Popen], over: threading.Event, lost: Callable[[str], None]) -> None:
    while not over.wait(1.0):
        failed = next((process.returncode for process in started if process.poll()), None)
        if failed is not None:
            if not over.wait(GRACE_SECONDS):
                # ``lost`` ends this process at once, and nobody else would end the others.
                _end(started)
                lost(f"another process of this run ended with exit code {failed}; see what it printed")
            return


def _end(started: list[subprocess.Popen]) -> None:
    for process in started:
        process.kill()
        process.wait()
