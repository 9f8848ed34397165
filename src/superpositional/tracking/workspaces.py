"""How does the dashboard stand on Weights & Biases?

A dashboard (``report.dashboard.Dashboard``: ``board`` everywhere here, its sections, panels and settings) as W&B's own
objects, through ``wandb-workspaces``: a workspace for the sweep, one for each series
of a setting that was swept, grouped by that setting, and a report with the words and tables. Building sends nothing; `save`
does, and what it saved before it updates. The extra ``dashboard`` brings the library, of which nothing is imported until
asked.

Three things are less than on the local page, and the titles and words say so. W&B has no t interval: its bands are standard
errors. It averages all runs of an arm, diverged ones too. And it shows what was logged, in the unit it was logged in.
"""

import hashlib
import json
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from superpositional import format
from superpositional.tracking import server as asked

# What `tracking.run` has every metric's steps under.
STEP = "trainer/global_step"
GROUP, ARM = "Group", "JobType"
# W&B's longest title of a report.
LONGEST = 128
# In W&B's grid of 24 columns.
WIDTH, HEIGHT, COLUMNS = 8, 7, 24
BAND = "mean ± standard error over seeds"
READING = (
    "On W&B a line is the mean of all runs of an arm, whatever their end, and a band its standard error, for W&B has no t "
    "interval. The verdicts and the table of differences are computed from the records, over finished pairs."
)
INSTALL = "pip install '.[dashboard]'"


class WorkspaceError(ValueError):
    """The dashboard cannot be built for W&B or sent there; the message names the cure."""


def workspaces(board: Any, *, project: str, entity: str) -> dict[str, Any]:
    """The sweep's ``wandb_workspaces.workspaces.Workspace``, and one for each series of a swept setting, by file name."""
    lib = _library()
    found = {"workspace": _workspace(lib, board, project, entity)}
    for setting, series in _swept(board):
        found[f"workspace-{_slug(f'{setting.name}-{series.name}')}"] = _workspace(
            lib, board, project, entity, setting, series
        )
    return found


def report(board: Any, *, project: str, entity: str) -> Any:
    """The sweep's ``wandb_workspaces.reports.v2.Report``."""
    lib = _library()
    wr = lib.wr
    blocks = [wr.P(board.question)] if board.question else []
    blocks += [wr.MarkdownBlock(board.lead)] if board.lead else []
    blocks += [wr.P(f"{board.progress.capitalize()}. {READING}"), wr.TableOfContents()]
    blocks += [wr.H1("Arms"), wr.MarkdownBlock(_arms(board))]
    learning = board.learning
    for section in board.sections:
        blocks.append(wr.H1(section.name))
        blocks += [wr.MarkdownBlock(_markdown(panel)) for panel in section.panels if panel.kind == "table"]
        if panels := [panel for panel in section.panels if panel.kind in ("line", "bar")]:
            blocks.append(_grid(lib, board, section.name, panels))
        # What is drawn against a setting is so of the arms that differ in it alone.
        for setting, series in _swept(board):
            if panels := [panel for panel in section.panels if panel.against == setting.key]:
                blocks.append(wr.H2(f"{series.name}, by {setting.name}"))
                blocks.append(_grid(lib, board, f"{section.name} {series.name}", [*panels, *learning], setting, series))
    if board.provenance:
        said = "".join(f"- {key}: `{value}`\n" for key, value in board.provenance.items())
        blocks += [wr.H1("Provenance"), wr.MarkdownBlock(f"{said}\nThe records on disk are the source of all of it.")]
    return wr.Report(
        entity=entity, project=project, title=_title(board), description=board.question, blocks=blocks, width="fluid"
    )


def specs(board: Any, *, project: str, entity: str | None) -> dict[str, str]:
    """What would be sent, as JSON by file name; the same records give the same text."""
    place = {"project": project, "entity": entity or ""}
    found = {name: (each.name, each._to_model().spec) for name, each in workspaces(board, **place).items()}
    found["report"] = (_title(board), report(board, **place)._to_model().spec)
    return {
        f"{name}.json": json.dumps(
            place | {"name": title, "spec": json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))},
            indent=1,
            sort_keys=True,
            ensure_ascii=False,
        )
        + "\n"
        for name, (title, spec) in found.items()
    }


def write(board: Any, folder: Path, *, project: str, entity: str | None) -> list[Path]:
    """``specs`` as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in specs(board, project=project, entity=entity).items():
        files.append(folder / name)
        files[-1].write_text(text, encoding="utf-8", newline="\n")
    return files


def require() -> None:
    """See that the library is there.

    Raises:
        WorkspaceError: it is not.
    """
    _library()


def save(board: Any, *, project: str, entity: str | None = None) -> dict[str, str]:
    """Send the workspaces and the report; returns where each is. What stands there under their names is replaced.

    Raises:
        WorkspaceError: no key, no server that answers, or no such project.
    """
    lib = _library()
    server, why = asked.reachable()
    if server is None:
        raise WorkspaceError(f"nothing was sent: {why}")
    import wandb

    with _asking(server):
        api = wandb.Api()
        entity = entity or api.default_entity
        if not entity:
            raise WorkspaceError("the key has no entity of its own; name one with --entity")
        there = lib.execute_graphql(api, lib.gql.projectInternalId, {"entityName": entity, "projectName": project})
    if not there.get("project"):
        raise WorkspaceError(
            f"nothing was sent: there is no project {entity}/{project} on {server}, or the key may not see it; "
            f"`superpositional sync` sends runs there, or name another with --project and --entity"
        )
    views = workspaces(board, project=project, entity=entity)
    made = report(board, project=project, entity=entity)
    with _asking(server):
        urls = {}
        for name, view in views.items():
            view._internal_id = _id_of(lib, view)
            urls[name] = view.save().url
        # The library knows a report by its id alone, which the server gives.
        same = [each.id for each in api.reports(f"{entity}/{project}") if each.display_name == made.title]
        made.id = same[0] if same else ""
        urls["report"] = made.save().url
    return urls


@contextmanager
def _asking(server: str) -> Iterator[None]:
    """Whatever the library, wandb or the network between raises, in one line."""
    try:
        yield
    except WorkspaceError:
        raise
    except Exception as error:
        told = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise WorkspaceError(f"{server} refused: {told}") from error


def _id_of(lib: SimpleNamespace, view: Any) -> str:
    """The id of the view that was saved under this name, or nothing."""
    try:
        return lib.views.View.from_name(view.entity, view.project, view._internal_name).id
    except ValueError:
        return ""


def _library() -> SimpleNamespace:
    """The parts of wandb-workspaces that are used, imported in silence: it warns of its own use of pydantic."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wandb_workspaces.reports.v2 as wr
            import wandb_workspaces.workspaces as ws
            from wandb_workspaces import expr
            from wandb_workspaces._graphql import execute_graphql
            from wandb_workspaces.reports.v2 import gql
            from wandb_workspaces.workspaces import internal as views
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "wandb_workspaces":
            raise
        raise WorkspaceError(f"W&B's dashboards need wandb-workspaces: {INSTALL}") from None
    return SimpleNamespace(wr=wr, ws=ws, expr=expr, execute_graphql=execute_graphql, gql=gql, views=views)


# Parts -------------------------------------------------------------------------------------------------------------


def _workspace(
    lib: SimpleNamespace,
    board: Any,
    project: str,
    entity: str,
    setting: Any = None,
    series: Any = None,
) -> Any:
    ws = lib.ws
    name = board.sweep if setting is None else f"{board.sweep} by {setting.name}, {series.name}"
    by = lib.expr.Metric(ARM) if setting is None else lib.expr.Config(setting.key)
    filters = _filters(lib, board, series)
    shown = lib.expr.filters_v2_to_string(filters)
    layout, by_step = ws.SectionLayoutSettings(columns=3), ws.SectionPanelSettings(x_axis=STEP)
    sections = [
        ws.Section(name=section.name, panels=panels, is_open=True, layout_settings=layout, panel_settings=by_step)
        for section in board.sections
        if (panels := list(_panels(lib, name, section, board, setting)))
    ]
    told = [each for each in (board.lead, board.question, f"{board.progress.capitalize()}.", READING) if each]
    summary = lib.wr.MarkdownPanel(markdown="\n\n".join(told))
    summary._id = _hash(name, "in short")[:12]
    sections.insert(0, ws.Section(name="In short", panels=[summary], is_open=True, panel_settings=by_step))
    # Without an arm's own colour, groups of values have W&B's.
    colors = {arm.name: arm.colour for arm in board.arms} if setting is None else {}
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=_plain(name),
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP, smoothing_type="none", max_runs=max(10, len(board.arms))),
        runset_settings=ws.RunsetSettings(filters=shown, groupby=[by], group_colors=colors),
    )
    # As the library's own loader leaves them: its strings turn the = of an arm's name into ==.
    made._stashed_filters_v2, made._stashed_filter_string = filters, made.runset_settings.filters
    made._internal_name = f"nw-{_hash(board.sweep, name)[:11]}-v"
    made._internal_runset_id = _hash(name, "runs")[:9]
    return made


def _grid(
    lib: SimpleNamespace,
    board: Any,
    name: str,
    panels: Sequence[Any],
    setting: Any = None,
    series: Any = None,
) -> Any:
    """A report's panels with the runs they are of. Without entity and project those are the report's own, unasked."""
    filters = _filters(lib, board, series)
    runs = lib.wr.Runset(
        name=board.sweep if series is None else f"{board.sweep}, {series.name}",
        filters=lib.expr.filters_v2_to_string(filters),
        groupby=[f"run.{ARM}" if setting is None else f"config.{setting.key}"],
    )
    runs._stashed_filters_v2, runs._stashed_filter_string = filters, runs.filters
    runs._id = _hash(board.sweep, name, "runs")[:9]
    made = [_panel(lib, f"{board.sweep} report {name}", panel, board, setting) for panel in panels]
    for place, panel in enumerate(made):
        row, column = divmod(place, COLUMNS // WIDTH)
        panel.layout = lib.wr.Layout(x=column * WIDTH, y=row * HEIGHT, w=WIDTH, h=HEIGHT)
    return lib.wr.PanelGrid(runsets=[runs], panels=made)


def _panels(lib: SimpleNamespace, name: str, section: Any, board: Any, setting: Any) -> Iterator[Any]:
    """A section's panels in a workspace; in that of a setting only what is by step or along it."""
    for panel in section.panels:
        if setting is None or panel.kind == "line" or panel.against == setting.key:
            yield _panel(lib, name, panel, board, setting)


def _panel(lib: SimpleNamespace, name: str, panel: Any, board: Any, setting: Any) -> Any:
    wr = lib.wr
    by = ARM if setting is None else wr.Config(setting.key)
    grouped = {"groupby": by, "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    log = panel.log or None
    if panel.kind == "line":
        made = wr.LinePlot(
            title=f"{panel.title} ({BAND})",
            x=wr.Metric(STEP),
            y=[wr.Metric(panel.metric)],
            log_y=log,
            title_x="step",
            smoothing_type="none",
            smoothing_factor=0.0,
            max_runs_to_show=max(10, len(board.arms)),
            **grouped,
        )
    elif panel.kind == "bar":
        made = wr.BarPlot(title=f"{panel.title} ({BAND})", metrics=[wr.Metric(panel.metric)], **grouped)
    elif panel.kind == "scatter":
        along = next(each for each in board.settings if each.key == panel.against)
        made = wr.ScatterPlot(
            title=f"{panel.title}, by {along.name}",
            x=wr.Config(panel.against),
            y=wr.SummaryMetric(panel.metric),
            log_y=log,
        )
    else:
        made = wr.MarkdownPanel(markdown=_markdown(panel))
    made._id = _hash(name, panel.kind, panel.metric or panel.title, panel.against)[:12]
    return made


def _filters(lib: SimpleNamespace, board: Any, series: Any) -> dict[str, Any]:
    """The sweep's runs, or those of a series, whatever characters its arms' names have."""
    key, filters = lib.expr.Key, lib.expr.Filters
    leaves = [filters(op="=", key=key(section="run", name="group"), value=board.sweep, disabled=False)]
    if series is not None:
        arms = list(series.arms.values())
        leaves.append(filters(op="IN", key=key(section="run", name="jobType"), value=arms, disabled=False))
    return lib.expr.filters_tree_to_v2(filters(op="AND", filters=leaves))


def _swept(board: Any) -> Iterable[tuple[Any, Any]]:
    return [(setting, series) for setting in board.settings for series in setting.series]


def _markdown(panel: Any) -> str:
    parts = [format.markdown(list(panel.rows)) if panel.rows else "", panel.words]
    return "\n\n".join(part for part in parts if part)


def _arms(board: Any) -> str:
    rows = [("arm", "W&B job type", "trained with"), *((a.label, f"`{a.name}`", a.method or "–") for a in board.arms)]
    return format.markdown(rows)


def _title(board: Any) -> str:
    return f"superpositional: {board.sweep}"[:LONGEST]


def _plain(name: str) -> str:
    """A view's name may hold no symbols, among which W&B counts = and +."""
    return "".join("-" if unicodedata.category(letter) in ("So", "Sk", "Sm", "Sc", "Cs") else letter for letter in name)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
