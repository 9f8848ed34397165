"""Every static figure that a sweep has, by its file's name; a study shows some of them under its own names."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from superpositional.evidence import curves
from superpositional.format import label
from superpositional.report import along, figures, forests, words
from superpositional.report.findings import Findings
from superpositional.report.style import column, page

# The settings that sweeps went along: their axis, and whether it is logarithmic.
SETTINGS = {
    "optimizer.quantum_weight": ("λ", True),
    "circuit.depth": ("depth of the circuit", False),
    "circuit.n_qubits": ("qubits of the circuit", False),
}
# What an earlier report may have left.
NAMES = ("claims", "fig1", "fig2", "paired_differences", "seed_bands", "departures", "time_to_target")
NAMES += tuple(f"by_{backend}" for backend in along.BACKENDS)


def of(said: Findings) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure, in the order in which a reader meets them."""
    sweep, judged, of_main = said.sweep, said.judged, said.comparisons[said.main]
    note, names = words.note(sweep), [label(arm) for arm in sweep.arms]
    lines, above = 0.15 * (note.count("\n") + bool(note)), 0.14 * figures.legend_rows(names)
    by_epoch = said.main.along.by == "epoch"
    found: dict[str, Callable[[], Figure]] = {}
    if judged:
        found["claims"] = partial(column, 1.0 + 0.36 * len(judged) + lines, forests.claims_forest, judged, note)
    logged = any(curve.n for curve in said.curves)
    if logged and by_epoch:
        found["fig1"] = partial(column, 2.55 + above + lines, figures.learning_curves, said.curves, said.main.along, note)
    if any(each.arm.values or each.baseline.values for each in of_main):
        height = 0.9 + 0.33 * len(of_main) + 0.15 * note.count("\n")
        found["paired_differences"] = partial(column, height, forests.paired_differences, of_main, note, sweep.arms)
    if logged:
        drawn = partial(page, len(said.curves), figures.seed_bands, said.curves, said.main.along)
        found["seed_bands" if by_epoch else "fig2"] = drawn
    if any(each.seeds for each in said.apart):
        found["departures"] = partial(page, len(said.apart), figures.departures, said.apart, sweep.arms)
    times = curves.reached(sweep)
    if any(len(each.epochs) for each in times):
        found["time_to_target"] = partial(column, 2.3 + above + lines, figures.time_to_target, times, note)
    told = along.by_backend(sweep)
    for backend in dict.fromkeys(line.backend for line in told):
        found[f"by_{backend}"] = partial(page, 3, figures.by_backend, [each for each in told if each.backend == backend])
    return found


def by_setting(said: Findings) -> dict[str, Callable[[], Figure]]:
    """Return what draws the effect along each swept setting; with where training broke, if it did."""
    found = {}
    for setting, (axis, log) in SETTINGS.items():
        if lines := along.by_setting(said.sweep, setting):
            broke = any(point.mean for line in lines for point in line.points["broken"])
            found[setting] = partial(page, 2 + broke, figures.by_setting, lines, axis, log)
    return found
