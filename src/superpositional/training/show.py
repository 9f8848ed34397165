"""What does the circuit of a config look like, and what can it do?

``superpositional circuit [overrides]``: the circuit that a run with these overrides would have, before any run. Prints its
gates, counts and spectrum, what shots and noise make of them and what a device would cost, and writes them with
pictures and OpenQASM 3 to a folder.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpositional.places import ConfigError
from superpositional.training import config as configs

if TYPE_CHECKING:
    from torch import Tensor

    from superpositional.circuits import Ansatz
    from superpositional.circuits.portrait import Curve

# A device of more qubits is not imitated unasked.
IMITATED = 8


def compose(overrides: Sequence[str], *, command: str = "circuit", circuit_is_read: bool = True) -> dict[str, Any]:
    """The resolved, checked config that ``superpositional train`` would have.

    Args:
        overrides: as for one train.
        command: who asks, for its messages.
        circuit_is_read: the circuit is looked at whatever else is chosen.

    Raises:
        configs.ConfigError: every mistake, as ``train`` has them.
    """
    from superpositional.training.check import check

    parsed = {text: configs.parse_override(text) for text in overrides}
    mistakes = [
        f"{command} shows one config, got {text}; give one value"
        for text, override in parsed.items()
        if override.is_sweep_override()
    ]
    # Hydra's own node says where runs go and who starts them.
    mistakes += [
        f"{text} has no effect: {command} starts no run; --out says where it writes"
        for text, override in parsed.items()
        if re.split(r"[./]", override.key_or_group)[0] == "hydra"
    ]
    if mistakes:
        raise ConfigError(mistakes)
    cfg, loader = configs.composed(overrides)
    check(cfg, loader, circuit_is_read=circuit_is_read)
    return configs.compose_job(cfg)


def main(overrides: Sequence[str], out: Path, readout: str | None = None) -> None:
    """Print the portrait and the bill; write them, the circuit's drawing, its curves and OpenQASM 3 to ``out``."""
    import matplotlib
    import matplotlib.pyplot as plt

    from superpositional.circuits import measures, portrait
    from superpositional.circuits.backends.aer import Device
    from superpositional.circuits.measures import random_angles
    from superpositional.circuits.readouts import READOUTS
    from superpositional.optim.circuit_perturbation import CircuitPerturbation
    from superpositional.seeds import drawing_from, generator
    from superpositional.training import bill

    if readout not in (None, *READOUTS):
        raise ConfigError([f"--readout must be one of {', '.join(READOUTS)}, got {readout!r}"])
    config = compose(overrides)
    ansatz = configs.make("circuit", config["circuit"])()
    readout = readout or config["net"].get("attention", {}).get("readout", "amplitude")
    node = config["optimizer"].get("perturbation")
    attention = config["net"].get("attention", {})
    in_optimizer, in_attention = isinstance(node, dict), "ansatz" in attention
    # A control in a circuit's place has its settings but runs none.
    in_attention = in_attention and getattr(configs.locate(attention["_target_"], "net.attention"), "circuits", 1) != 0
    perturbation = configs.make("optimizer.perturbation", node)() if in_optimizer else CircuitPerturbation(ansatz)
    with drawing_from(config["seed"], "circuit"):  # as a run has it
        perturbation = perturbation.seeded()
    places = ["attention"] * in_attention + ["the optimizer"] * in_optimizer
    where = (
        f"With these overrides a run has it in {' and in '.join(places)}."
        if places
        else ("With these overrides a run has no circuit: choose net/attention=quantum or optimizer=circuit.")
    )
    angles_CLRQ = random_angles(ansatz, generator(config["seed"], "circuit"), 4)
    # As a run would have it, whose callback says so.
    asked = dict(config["callbacks"].get("circuit") or {})
    device = Device(**{name: asked[name] for name in ("basis", "coupling", "level") if name in asked})
    known = measures.facts(ansatz, device=device, **{name: asked[name] for name in ("pairs",) if name in asked})
    text = f"{where}\n\n{portrait.text(ansatz, readout, angles_CLRQ[0], known)}"
    costs = bill.of_config(config)
    curves, said = measured(config, ansatz, readout, angles_CLRQ[0])
    text += "\n" + "\n".join(["Measured, and what that costs:", *said, *costs.text()]) + "\n"
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
    config: Mapping[str, Any], ansatz: "Ansatz", readout: str, angles_LRQ: "Tensor"
) -> tuple[dict[str, "Curve"], list[str]]:
    """Phi's curve exactly, with shots, and on the config's backend or else an imitated device; and what there is to say."""
    from superpositional.circuits import portrait
    from superpositional.circuits.backends import Exact, Noisy, Shots
    from superpositional.circuits.readouts import is_amplitude
    from superpositional.seeds import stream

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
