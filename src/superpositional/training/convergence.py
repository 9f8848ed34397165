"""The convergence metrics of claims C1, C2 and C6 (Pamuk et al. 2025), from the curves on disk."""

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from superpositional.training.callbacks import Curve, integer, log


class Convergence(Callback):
    """How fast a validation metric rises, and how restless the loss is.

    Logs ``time/train_seconds`` at every validation (training and validation, without setup). Summary, under
    ``convergence/``:

    - ``target``, and ``epochs_to_target``, ``steps_to_target``, ``seconds_to_target``: where the metric first reaches it,
      by linear interpolation between validations; the first validation counts as it stands. Missing when never reached.
    - ``area``: mean height of the curve over the epochs validated (trapezoids, divided by the width).
    - ``mean_last_k``: mean of the last ``last_k`` validations.
    - ``seconds_per_epoch``: from the first validation to the last, so that what the first epoch sets up is left out.
    - ``loss_variance``: variance of the change of the training loss from one step to the next.

    Args:
        metric: the metric to follow; with a target, larger is better.
        target: the value to reach; None: there is none, as for a loss.
        last_k: how many last validations to average.
    """

    def __init__(self, *, metric: str = "val/accuracy", target: float | None = 0.9, last_k: int = 3) -> None:
        if target is not None and not math.isfinite(target):
            raise ValueError(f"target must be a finite number, got {target}; the paper's is 0.9, and null is none")
        self.metric, self.target = metric, target
        self.last_k = integer("last_k", last_k, cure="3 evens out the last epochs")
        self.seconds_before = self.started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and self.started:
            log(trainer, {trainer.global_step: {"time/train_seconds": self._seconds()}})

    def summary(self, curves: Mapping[str, Curve], steps_per_epoch: int | None) -> dict[str, float]:
        """From the curves on disk, so that a resumed run is judged whole."""
        found: dict[str, float] = {} if self.target is None else {"target": self.target}
        if self.metric not in curves:
            logged = ", ".join(sorted(curves)) or "none"
            warnings.warn(f"Convergence follows {self.metric}, which was never logged; logged: {logged}", stacklevel=2)
        else:
            steps, values = curves[self.metric]
            reached = np.flatnonzero(values >= self.target) if self.target is not None else ()
            if len(reached):
                # On the line from the validation before.
                around = slice(max(reached[0] - 1, 0), reached[0] + 1)
                found["steps_to_target"] = float(np.interp(self.target, values[around], steps[around]))
                if steps_per_epoch is not None:
                    found["epochs_to_target"] = found["steps_to_target"] / steps_per_epoch
                found["seconds_to_target"] = float(np.interp(found["steps_to_target"], *curves["time/train_seconds"]))
            clock = curves.get("time/train_seconds", ((), ()))
            if steps_per_epoch is not None and len(clock[0]) > 1:
                epochs = (clock[0][-1] - clock[0][0]) / steps_per_epoch
                found["seconds_per_epoch"] = float((clock[1][-1] - clock[1][0]) / epochs)
            if len(steps) > 1:
                found["area"] = float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))
            found["mean_last_k"] = float(values[-self.last_k :].mean())
        losses = curves.get("train/loss", (np.empty(0), np.empty(0)))[1]
        if len(losses) > 2 and np.isfinite(losses).all():
            found["loss_variance"] = float(np.diff(losses).var(ddof=1))
        return {f"convergence/{name}": value for name, value in found.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]

    def _seconds(self) -> float:
        return self.seconds_before + (time.perf_counter() - self.started if self.started else 0.0)
