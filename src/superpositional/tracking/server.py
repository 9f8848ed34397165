"""The environment of Weights & Biases: its variables, its server, its own process, and where its copies of files lie."""

import contextlib
import os
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ANSWER_WITHIN = 5  # seconds


def heed() -> str:
    """Remove from this process's environment the WANDB_ variables that are empty, as if they were not set, and those that
    W&B refuses; return the reasons of the latter."""
    import wandb

    wrong = []
    for name, value in [each for each in os.environ.items() if each[0].startswith("WANDB_")]:
        try:
            if value:
                wandb.Settings().update_from_env_vars({name: value})
                if name != "WANDB_MODE" or value in ("online", "offline", "disabled"):
                    continue
                wrong.append(f"{name} must be online, offline or disabled, got {value!r}; unset it")
        except ValueError as error:  # pydantic's
            reason = [line.strip() for line in str(error).splitlines()][2].partition(" [")[0]
            wrong.append(f"{name}={value!r} is refused: {reason[0].lower()}{reason[1:]}; unset it")
        del os.environ[name]
    return "; ".join(wrong)


def reachable() -> tuple[str | None, str]:
    """Return W&B's server if a key is set and it answers within 5 s, else None; and the reason in words."""
    import wandb

    if wrong := heed():
        return None, wrong
    server = address()
    try:
        # Looks in WANDB_API_KEY, the settings and the netrc file; asks neither the user nor the server.
        if not wandb.login(prompt=False, verify=False):
            return None, "no key is set; `wandb login` sets one"
    except (ValueError, wandb.Error) as error:
        return None, f"the key that is set is not valid: {told(error)}; `wandb login` sets one"
    try:
        within(ANSWER_WITHIN, lambda: urllib.request.urlopen(server, timeout=ANSWER_WITHIN).close())
    except urllib.error.HTTPError:
        pass  # A refusal is an answer too.
    except (OSError, ValueError) as error:
        return None, f"{server} did not answer: {getattr(error, 'reason', error)}"
    return server, "a key is set"


def address(**settings: Any) -> str:
    """Return the address of W&B's server, as its settings give it; ``settings`` hold for this process from then on."""
    import wandb

    heed()
    # Silent from the start: otherwise W&B asks the server for the key's owner, however long that takes. Online whatever
    # WANDB_MODE says, because only a caller who wants the server asks for its address; each run states its own mode.
    return wandb.setup(wandb.Settings(silent=True, mode="online", **settings)).settings.base_url


def within(seconds: float, call: Callable[[], None]) -> None:
    """Call for at most so many seconds: the time limits of urlopen and of W&B do not hold where a network is lost.

    Raises:
        TimeoutError: the call has not ended; whatever it raised is raised too.
    """
    raised: list[BaseException] = []

    def calling() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=calling, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if raised:
        raise raised[0]


def told(error: BaseException) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


@contextlib.contextmanager
def staged() -> Iterator[Path]:
    """Give a temporary folder, also to W&B for its copies of artifacts' files: their paths are sent in manifests, and W&B's
    default lies in the user's home, which names the user."""
    before = {name: os.environ.get(name) for name in ("WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "WANDB_CACHE_DIR")}
    with tempfile.TemporaryDirectory(prefix="superpositional-", ignore_cleanup_errors=True) as folder:
        os.environ |= dict.fromkeys(before, folder)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ |= {} if value is None else {name: value}


def abandon() -> None:
    """Kill W&B's own process, which would hold up the end of this one for as long as the server does not answer.

    By private names, because nothing public makes W&B forget a run whose process is dead: ``_proc`` is that process, which
    would stay a zombie, and without ``unset_globals`` ``wandb.run`` would still be that run.
    """
    import psutil
    import wandb
    from wandb.sdk.lib import module

    process = getattr(getattr(wandb.setup(), "_connection", None), "_proc", None)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("wandb-core"):
                child.kill()
    # It removes W&B's exit hook, and then fails to reach the process.
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()
    if process is not None:
        process.join()
    module.unset_globals()
