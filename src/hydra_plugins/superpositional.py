"""The door through which Hydra finds our sweeper and launcher: it builds plugins from ``hydra_plugins`` alone."""

from superpositional import launch, sweep


class ArmsSweeper(sweep.ArmsSweeper):
    """``hydra/sweeper=arms``."""


class LocalLauncher(launch.LocalLauncher):
    """``hydra/launcher=local``."""
