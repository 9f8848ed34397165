"""Does Weights & Biases' server answer, and what does it have of a run?

Asked before anything is sent, and never for longer than said. Read by the run's life and by sync.
"""

import os
import threading
import urllib.error
import urllib.request
from typing import Any

ANSWER_WITHIN = 5  # seconds
LINES = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { historyLineCount } } }"""


def heed() -> str:
    """Drop from this process's environment the WANDB_ variables that are empty, which are not set, and those that W&B
    refuses; return what is to be said of the latter."""
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
    """W&B's server, if a key is set and it answers within 5 s; else None; and in words which of these."""
    import wandb

    if wrong := heed():
        return None, wrong
    server = address()
    try:
        # Looks in WANDB_API_KEY, the settings and the netrc file; asks neither the user nor the server.
        if not wandb.login(prompt=False, verify=False):
            return None, "no key is set; `wandb login` sets one"
    except (ValueError, wandb.Error) as error:
        return None, f"the key that is set is none: {str(error).splitlines()[0]}"
    # A name server that is silent keeps no timeout of urlopen's.
    heard: list[str | None] = []
    asking = threading.Thread(target=lambda: heard.append(_refusal(server)), daemon=True)
    asking.start()
    asking.join(ANSWER_WITHIN)
    refusal = heard[0] if heard else f"no answer within {ANSWER_WITHIN} s"
    return (server, "a key is set") if refusal is None else (None, f"{server} did not answer: {refusal}")


def address(**settings: Any) -> str:
    """Of W&B's server, as its settings have it; ``settings`` of this process go with them."""
    import wandb

    heed()
    # Silent from the start: else finding a key would have the server asked for its owner's name, however long it takes.
    # Online whatever WANDB_MODE says, for that is what somebody asks who asks for the address; a run's own mode is its own.
    return wandb.setup(wandb.Settings(silent=True, mode="online", **settings)).settings.base_url


def _refusal(server: str) -> str | None:
    try:
        urllib.request.urlopen(server, timeout=ANSWER_WITHIN).close()
    except urllib.error.HTTPError:
        pass  # a refusal is an answer too
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def lines(run_id: str, project: str, entity: str | None) -> int:
    """How many rows of history the server has of a run: 0 if it has none of it.

    Raises:
        OSError: it did not answer, or not to this question.
    """
    import wandb

    asked = {"project": project, "entity": entity, "name": run_id}
    try:
        # The library's own way to ask, with whatever credentials it has; the public one gives a run, and not this number.
        found = wandb.Api()._service_api.execute_graphql(LINES, asked, timeout=ANSWER_WITHIN)
    except Exception as error:
        raise OSError(f"{address()} did not say what it has of {run_id}: {error}") from None
    run = ((found or {}).get("model") or {}).get("bucket") or {}
    return int(run.get("historyLineCount") or 0)
