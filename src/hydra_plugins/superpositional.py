"""The door through which Hydra finds our sweeper and launchers: it builds plugins from ``hydra_plugins`` alone."""

from superpositional import launch, slurm, sweep


class ArmsSweeper(sweep.ArmsSweeper):
    """``hydra/sweeper=arms``."""


class LocalLauncher(launch.LocalLauncher):
    """``hydra/launcher=local``."""


class SlurmLauncher(slurm.SlurmLauncher):
    """``hydra/launcher=slurm``."""
