"""The environment of Weights & Biases: its variables, its server, its own process, and where its copies of files lie."""

import contextlib
import os
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
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
    # In a thread, because urlopen's timeout does not bound the look-up of the server's name.
    heard: list[str | None] = []
    asking = threading.Thread(target=lambda: heard.append(_refusal(server)), daemon=True)
    asking.start()
    asking.join(ANSWER_WITHIN)
    refusal = heard[0] if heard else f"no answer within {ANSWER_WITHIN} s"
    return (server, "a key is set") if refusal is None else (None, f"{server} did not answer: {refusal}")


def address() -> str:
    """Return the address of W&B's server, as its settings give it."""
    import wandb

    heed()
    # Silent from the start: otherwise W&B asks the server for the key's owner, however long that takes. Online whatever
    # WANDB_MODE says, because only a caller who wants the server asks for its address; each run states its own mode.
    return wandb.setup(wandb.Settings(silent=True, mode="online")).settings.base_url


def told(error: BaseException) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


@contextlib.contextmanager
def staged() -> Iterator[Path]:
    """Give a temporary folder, also to W&B for its copies of artifacts' files: their paths are sent in manifests, and W&B's
    default lies in the user's home, which names the user."""
    names = ("WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "WANDB_CACHE_DIR")
    before = {name: os.environ.pop(name, None) for name in names}
    with tempfile.TemporaryDirectory(prefix="superpositional-", ignore_cleanup_errors=True) as folder:
        os.environ |= dict.fromkeys(names, folder)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value


def abandon() -> None:
    """Kill W&B's own process, which would hold up the end of this one for as long as the server does not answer.

    ``unset_globals`` is private: nothing public makes W&B forget a run whose process is dead, and ``wandb.run`` would still
    be that run.
    """
    import psutil
    import wandb
    from wandb.sdk.lib import module

    killed = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("wandb-core"):
                child.kill()
                killed.append(child)
    # It removes W&B's exit hook, and then fails to reach the process.
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()
    psutil.wait_procs(killed, timeout=ANSWER_WITHIN)
    module.unset_globals()


def _refusal(server: str) -> str | None:
    try:
        urllib.request.urlopen(server, timeout=ANSWER_WITHIN).close()
    except urllib.error.HTTPError:
        pass  # A refusal is an answer too.
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None
