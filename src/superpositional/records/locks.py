"""Lock a folder: a sweep's folder has one call at a time, a run's folder one process.

The system releases a lock when its process ends, however it ends, so none is left behind.
"""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from superpositional.places import ConfigError

FILE = "lock"
# What file systems say that have no locks: Lustre without the option flock, some network file systems.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder against every other process, here or on another machine that shares it.

    Raises:
        ConfigError: another process is at work there, or the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check(folder)
    # By a descriptor that no program started from here inherits: W&B's may outlive the run.
    with open(folder / FILE, "a+") as file:
        if not _taken(file.fileno(), folder):
            file.seek(0)
            who = file.read().strip()
            cure = "wait for it, or choose another folder: hydra.sweep.dir=..., hydra.run.dir=..."
            raise ConfigError([f"{folder} is locked by {who}; {cure}"])
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether some process is at work in a folder."""
    path = folder / FILE
    if not path.exists():
        return False
    _check(folder)
    with open(path) as file:
        return not _taken(file.fileno(), folder)


def _check(folder: Path) -> None:
    # To open a FIFO would wait for whoever opens its other end.
    if (path := folder / FILE).exists() and not path.is_file():
        raise ConfigError([f"{path} must be a regular file, which locks the folder; remove what is there"])


def _taken(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise ConfigError([f"the file system of {folder} has no locks ({error.strerror}); choose one that has"]) from None
    return True
