"""The door through which Hydra finds our sweeper and launcher: it builds plugins from ``hydra_plugins`` alone."""

from superpositional import sweep


class ArmsSweeper(sweep.ArmsSweeper):
    """``hydra/sweeper=arms``."""


class LocalLauncher(sweep.LocalLauncher):
    """``hydra/launcher=local``."""
