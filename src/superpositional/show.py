"""What does the circuit of a config look like, and what can it do?

``superpositional circuit [overrides]``: the circuit that a run with these overrides would have, before any run. Prints its
gates, counts, spectrum and curves, and writes them with a picture and OpenQASM 3 to a folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from superpositional import config as configs


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved, checked config that ``superpositional train`` would have, though nothing need read the circuit.

    Raises:
        configs.ConfigError: every mistake, as ``train`` has them.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from superpositional.check import check

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(configs.directory("conf")), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            cfg = hydra_compose("train", configs.lift(overrides, loader), return_hydra_config=True)
            check(cfg, loader, circuit_is_read=True)
            return configs.compose_job(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise configs.ConfigError([" ".join(str(error).split("\n")[:2])]) from None


def main(overrides: Sequence[str], out: Path, readout: str | None = None) -> None:
    """Print the portrait and write ``circuit.txt``, ``circuit.png``, ``circuit.svg`` and ``circuit.qasm`` to ``out``."""
    import matplotlib

    from superpositional.circuits import portrait
    from superpositional.circuits.measures import random_angles
    from superpositional.circuits.readouts import READOUTS
    from superpositional.perturbation import CircuitPerturbation
    from superpositional.seeds import generator

    if readout not in (None, *READOUTS):
        raise configs.ConfigError([f"--readout must be one of {', '.join(READOUTS)}, got {readout!r}"])
    config = compose(overrides)
    ansatz = configs.make("circuit", config["circuit"])()
    readout = readout or config["net"].get("attention", {}).get("readout", "amplitude")
    node = config["optimizer"].get("perturbation")
    perturbation = configs.make("optimizer.perturbation", node)() if isinstance(node, dict) else CircuitPerturbation(ansatz)
    angles_CLRQ = random_angles(ansatz, generator(config["seed"], "circuit"), 4)
    text = portrait.text(ansatz, readout, angles_CLRQ, perturbation)
    sys.stdout.write(text)
    matplotlib.use("agg")
    out.mkdir(parents=True, exist_ok=True)
    figure = portrait.draw(ansatz, readout, angles_CLRQ, perturbation)
    figure.savefig(out / "circuit.png", dpi=150)
    figure.savefig(out / "circuit.svg")
    (out / "circuit.txt").write_text(text)
    (out / "circuit.qasm").write_text(ansatz.to_qasm())
    sys.stdout.write(f"\nPicture, text and OpenQASM 3: {out}/circuit.png, .svg, .txt, .qasm\n")
