"""The door through which Hydra finds our sweeper and launchers: it builds plugins from ``hydra_plugins`` alone."""

from superpositional.sweeps import arms, launch, slurm


class ArmsSweeper(arms.ArmsSweeper):
    """``hydra/sweeper=arms``."""


class LocalLauncher(launch.LocalLauncher):
    """``hydra/launcher=local``."""


class SlurmLauncher(slurm.SlurmLauncher):
    """``hydra/launcher=slurm``."""
