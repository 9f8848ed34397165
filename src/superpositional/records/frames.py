"""A sweep as pandas DataFrames, for analyses of your own."""

from pathlib import Path
from typing import TYPE_CHECKING

from superpositional.records.sweep import Sweep, load_sweep

if TYPE_CHECKING:
    import pandas

COLUMNS = ("arm", "seed", "status", "identity", "code", "wall_seconds", "steps")


class Frames:
    """A sweep's folder, finished, unfinished or published.

    Example:
        >>> found = load("outputs/published/paper_classification")
        >>> found.runs.groupby("arm")["test/accuracy"].mean()
        >>> found.curves("val/accuracy").pivot_table("value", "step", "arm")
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    @property
    def runs(self) -> "pandas.DataFrame":
        """Return a row per run: arm, seed, status, identity, code, seconds, steps, and a column per summary metric.

        A value that a run does not have is NaN, never zero.
        """
        import pandas

        rows = [{name: run.record.get(name) for name in COLUMNS} | dict(run.record["summary"]) for run in self.sweep.runs]
        return pandas.DataFrame(rows, columns=None if rows else list(COLUMNS))

    def curves(self, metric: str | None = None) -> "pandas.DataFrame":
        """Return a row per logged value: arm, seed, metric, step, value; of one metric if it is named.

        Raises:
            KeyError: no run logged that metric.
        """
        import pandas

        known = sorted({name for run in self.sweep.runs for name in run.curves})
        if metric is not None and metric not in known:
            raise KeyError(f"metric must be one of {', '.join(known) or 'none'}, got {metric!r}")
        parts = [
            pandas.DataFrame({"arm": run.arm, "seed": run.seed, "metric": name, "step": steps, "value": values})
            for run in self.sweep.runs
            for name, (steps, values) in run.curves.items()
            if metric in (None, name)
        ]
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()


def load(folder: str | Path) -> Frames:
    """Read a sweep's folder.

    Raises:
        FileNotFoundError: the folder holds no sweep.
        Unreadable: its files are damaged; a line for each mistake.
    """
    return Frames(load_sweep(folder))
