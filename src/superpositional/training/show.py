"""A config before any run: its circuit (``superpositional circuit``) and its first updates (``superpositional plan``).

The circuit's gates, counts and curves, what shots and noise make of them and what a device would cost go to a folder. The
updates of a few real steps are traced (``optim.tracer``), beside the placebo's, the least that any change amounts to.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from superpositional.circuits import Ansatz, measures, portrait
from superpositional.circuits.backends import Exact, Noisy, Shots
from superpositional.circuits.backends.aer import Device
from superpositional.circuits.measures import random_angles
from superpositional.circuits.readouts import READOUTS, is_amplitude
from superpositional.optim.circuit_perturbation import CircuitPerturbation
from superpositional.optim.tracer import Tracer
from superpositional.places import ConfigError
from superpositional.seeds import drawing_from, generator, stream
from superpositional.training import bill
from superpositional.training import config as configs
from superpositional.training.check import check
from superpositional.training.fit import undisturbed

# A device of more qubits is not imitated unasked.
IMITATED = 8
PLACEBO = "superpositional.optim.placebo.PlaceboAdamW"


def compose(overrides: Sequence[str], *, command: str = "circuit", circuit_is_read: bool = True) -> dict[str, Any]:
    """Return the resolved, checked config that ``superpositional train`` would have.

    Args:
        overrides: as for one train.
        command: the name of the command, for its messages.
        circuit_is_read: the circuit is looked at whatever else is chosen.

    Raises:
        ConfigError: every mistake, as ``train`` has them.
    """
    mistakes = []
    for text in overrides:
        override = configs.parse_override(text)
        if override.is_sweep_override():
            mistakes.append(f"{command} shows one config, got {text}; give one value")
        # Hydra's own node says where runs go and who starts them.
        if re.split(r"[./]", override.key_or_group)[0] == "hydra":
            mistakes.append(f"{text} has no effect: {command} starts no run; --out says where it writes")
    if mistakes:
        raise ConfigError(mistakes)
    cfg, loader = configs.composed(overrides)
    check(cfg, loader, circuit_is_read=circuit_is_read)
    return configs.compose_job(cfg)


# The circuit -------------------------------------------------------------------------------------------------------


def circuit(overrides: Sequence[str], out: Path, readout: str | None = None) -> None:
    """Print the portrait and the bill; write them, the circuit's drawing, its curves and OpenQASM 3 to ``out``."""
    if readout not in (None, *READOUTS):
        raise ConfigError([f"--readout must be one of {', '.join(READOUTS)}, got {readout!r}"])
    config = compose(overrides)
    ansatz = configs.make("circuit", config["circuit"])()
    attention, node = config["net"].get("attention", {}), config["optimizer"].get("perturbation")
    readout = readout or attention.get("readout", "amplitude")
    places = []
    # A control in a circuit's place has its settings but runs none.
    if "ansatz" in attention and getattr(configs.locate(attention["_target_"], "net.attention"), "circuits", 1) != 0:
        places.append("attention")
    if isinstance(node, dict):
        places.append("the optimizer")
        perturbation = configs.make("optimizer.perturbation", node)()
    else:
        perturbation = CircuitPerturbation(ansatz)
    with drawing_from(config["seed"], "circuit"):  # as a run has it
        perturbation = perturbation.seeded()
    where = "has no circuit: choose net/attention=quantum or optimizer=circuit."
    where = f"has it in {' and in '.join(places)}." if places else where
    angles_CLRQ = random_angles(ansatz, generator(config["seed"], "circuit"), 4)
    # As a run would have it, whose callback says so.
    asked = dict(config["callbacks"].get("circuit") or {})
    device = Device(**{name: asked[name] for name in ("basis", "coupling", "level") if name in asked})
    known = measures.facts(ansatz, device=device, **{name: asked[name] for name in ("pairs",) if name in asked})
    portrayed = portrait.text(ansatz, readout, angles_CLRQ[0], known)
    costs = bill.of_config(config)
    curves, said = measured(config, ansatz, readout, angles_CLRQ[0])
    bought = "\n".join(["Measured, and what that costs:", *said, *costs.text()])
    text = f"With these overrides a run {where}\n\n{portrayed}\n{bought}\n"
    matplotlib.use("agg")
    try:
        out.mkdir(parents=True, exist_ok=True)
        portrait.save(ansatz.draw("mpl"), out / "circuit.png", out / "circuit.svg")
        portrait.save(portrait.draw(ansatz, readout, angles_CLRQ, perturbation), out / "curves.png", out / "curves.svg")
        figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
        portrait.draw_measured(ax, curves)
        portrait.save(figure, out / "measured.png", out / "measured.svg")
        (out / "bill.json").write_text(json.dumps(costs.plain(), indent=1) + "\n")
        (out / "circuit.txt").write_text(text)
        (out / "circuit.qasm").write_text(ansatz.to_qasm())
    except OSError as error:
        raise ConfigError([f"--out must be a folder to write to, got {str(out)!r}: {error.strerror}"]) from None
    pictures = ", ".join(f"{name}.png and .svg" for name in ("circuit", "curves", "measured"))
    sys.stdout.write(f"{text}\n{out}: {pictures}, circuit.txt, circuit.qasm (OpenQASM 3), bill.json\n")


def measured(
    config: Mapping[str, Any], ansatz: Ansatz, readout: str, angles_LRQ: Tensor
) -> tuple[dict[str, portrait.Curve], list[str]]:
    """Return Phi's curve exactly, with shots, and on the config's backend or an imitated device; and sentences on it."""
    said = []
    if is_amplitude(readout):
        said, readout = [f"readout={readout} cannot be measured; the curves in measured.png are readout=z's."], "z"
    backend = configs.make("backend", config["backend"])()
    shots = getattr(backend, "shots", None) or Noisy().shots
    chosen = [Exact(), Shots(shots)]
    if isinstance(backend, (Exact, Shots)):
        # What a device's noise would be, where none was chosen; a wide one takes minutes to imitate.
        chosen += [Noisy(shots=shots)] if ansatz.n_qubits <= IMITATED else []
    elif backend.simulated:
        chosen.append(backend)
    else:
        said.append(f"backend={backend.name} was not asked: an execution there has a price.")
    seed, nodes = stream(config["seed"], "circuit", 1), config["net"].get("attention", {}).get("nodes")
    curves = {}
    for each in chosen:
        name = each.name if not each.stochastic else f"{each.name}, {each.shots:,} shots"
        curves[name] = curve = portrait.measured(each, ansatz, readout, angles_LRQ, seed=seed, nodes=nodes)
        if each != Exact():
            off = portrait.rms(curve.phi_T - curves["exact"].phi_T)
            expected = f"; its standard error says {portrait.rms(curve.error_T):.3g}" if each.stochastic else ""
            said.append(f"Phi by backend={name}: off by {off:.3g} over a turn (root mean square){expected}")
    said.append(f"Phi itself is {portrait.rms(curves['exact'].phi_T):.3g} over a turn, first set of angles.")
    return curves, said


# The first updates -------------------------------------------------------------------------------------------------


def trace(config: Mapping[str, Any], steps: int) -> dict[str, list[Any]]:
    """Return traces of ``steps`` steps from the start: of the config's optimizer, and of the placebo with its settings.

    Raises:
        ConfigError: the optimizer has no Adam's state to be traced.
    """
    placebo = {**config, "optimizer": _placebo(config["optimizer"])}
    return {"arm": _traced(config, steps), "placebo": _traced(placebo, steps)}


def rows(traces: Mapping[str, Sequence[Any]]) -> list[tuple[str, ...]]:
    """Return means over the steps, a row for each of the two; the first row holds the headings."""
    table = [("", "share of the update", "largest", "angle (degrees)", "scalars touched", "changed a step", "of")]
    for name, each in traces.items():
        share, angle = ([getattr(trace, key) for trace in each] for key in ("share", "angle"))
        numbers = (_of_numbers(np.mean, share), _of_numbers(np.max, share), _of_numbers(np.mean, angle))
        touched = "–" if each[0].touched is None else f"{each[0].touched:,}"
        changed = f"{np.mean([trace.changed for trace in each]):,.4g}"
        table.append((name, *numbers, touched, changed, f"{each[0].scalars:,}"))
    return table


def _traced(config: Mapping[str, Any], steps: int) -> list[Any]:
    from lightning.pytorch.callbacks import LambdaCallback

    torch.set_num_threads(config["threads"])
    parts = configs.build(config)
    tracers = []

    def start(trainer: Any, pl_module: Any) -> None:
        try:
            tracers.append(Tracer(trainer.optimizers[0]).__enter__())
        except ValueError as error:
            raise ConfigError([f"{error}; plan traces Adam's kin, such as optimizer=adamw"]) from None

    with undisturbed():
        trainer = parts.trainer(
            max_epochs=-1,
            max_steps=steps,
            limit_val_batches=0,
            logger=False,
            callbacks=[LambdaCallback(on_train_start=start)],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(parts.task, parts.data)
    return tracers[0].traces


def _placebo(node: Mapping[str, Any]) -> dict[str, Any]:
    """The placebo with the optimizer's own settings, as far as AdamW has them."""
    known = [name for name in inspect.signature(AdamW).parameters if name != "params"]
    # Adam decays nothing where it does not say so, AdamW does.
    decay = {"weight_decay": 0.0} if node["_target_"].endswith(".Adam") else {}
    return {"_target_": PLACEBO, "_partial_": True} | decay | {key: node[key] for key in known if key in node}


def _of_numbers(what: Callable[[Any], float], values: Sequence[float]) -> str:
    """A statistic over the steps in which something moved: of the others there is no number."""
    there = [value for value in values if not np.isnan(value)]
    return f"{what(there):.3g}" if there else "–"
