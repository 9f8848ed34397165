"""What does the circuit of a config look like, and what can it do?

``superpositional circuit [overrides]``: the circuit that a run with these overrides would have, before any run. Prints its
gates, counts, spectrum and curves, and writes them with a picture and OpenQASM 3 to a folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from superpositional import config as configs


def compose(overrides: Sequence[str], *, command: str = "circuit", circuit_is_read: bool = True) -> dict[str, Any]:
    """The resolved, checked config that ``superpositional train`` would have.

    Args:
        overrides: as for one train.
        command: who asks, for its messages.
        circuit_is_read: the circuit is looked at whatever else is chosen.

    Raises:
        configs.ConfigError: every mistake, as ``train`` has them.
    """
    from superpositional.check import check

    if several := [text for text in overrides if configs.parse_override(text).is_sweep_override()]:
        raise configs.ConfigError([f"{command} shows one config, got {text}; give one value" for text in several])
    cfg, loader = configs.composed(overrides)
    check(cfg, loader, circuit_is_read=circuit_is_read)
    return configs.compose_job(cfg)


def main(overrides: Sequence[str], out: Path, readout: str | None = None) -> None:
    """Print the portrait; write it, the circuit's drawing, its curves and OpenQASM 3 to ``out``."""
    import matplotlib

    from superpositional.circuits import facts, portrait
    from superpositional.circuits.measures import random_angles
    from superpositional.circuits.readouts import READOUTS
    from superpositional.circuits.transpiled import Device
    from superpositional.perturbation import CircuitPerturbation
    from superpositional.seeds import drawing_from, generator

    if readout not in (None, *READOUTS):
        raise configs.ConfigError([f"--readout must be one of {', '.join(READOUTS)}, got {readout!r}"])
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
    known, unkept = facts.facts(ansatz, device=device, **{name: asked[name] for name in ("pairs",) if name in asked})
    text = f"{where}\n\n{portrait.text(ansatz, readout, angles_CLRQ, perturbation, known)}"
    matplotlib.use("agg")
    try:
        out.mkdir(parents=True, exist_ok=True)
        portrait.save(ansatz.draw("mpl"), out / "circuit.png", out / "circuit.svg")
        portrait.save(portrait.draw(ansatz, readout, angles_CLRQ, perturbation), out / "curves.png", out / "curves.svg")
        (out / "circuit.txt").write_text(text)
        (out / "circuit.qasm").write_text(ansatz.to_qasm())
    except OSError as error:
        raise configs.ConfigError([f"--out must be a folder to write to, got {str(out)!r}: {error.strerror}"]) from None
    if unkept:
        sys.stderr.write(f"superpositional: {unkept}\n")
    sys.stdout.write(f"{text}\n{out}: circuit.png and .svg, curves.png and .svg, circuit.txt, circuit.qasm (OpenQASM 3)\n")
