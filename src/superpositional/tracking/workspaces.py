"""Build a sweep's dashboard on Weights & Biases, workspaces and a report, through ``wandb-workspaces``.

A ``board`` (``report.dashboard.Dashboard``) becomes a workspace grouped by arm, one more for each series of a swept
setting, grouped by that setting, and a report with the words and tables. Building sends nothing; `save` does, and replaces
what it saved before. Titles and words say where W&B shows less than the local page.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from superpositional import format
from superpositional.places import UserError
from superpositional.tracking import server as asked
from superpositional.tracking.contents import STEP

ARM = "JobType"
LONGEST = 128  # characters of a report's title
BAND = "mean ± standard error over seeds"
READING = (
    "On W&B a line is the mean of all runs of an arm, whatever their end, and a band its standard error, for W&B has no t "
    "interval. The verdicts and the table of differences are computed from the records, over finished pairs."
)


class WorkspaceError(UserError):
    """The dashboard cannot be built for W&B or sent there; the message names the cure."""


def workspaces(board: Any, *, project: str, entity: str) -> dict[str, Any]:
    """Return the sweep's ``wandb_workspaces.workspaces.Workspace``, and one per series of a swept setting, by file name."""
    found = {"workspace": _View(board).workspace(project, entity)}
    for setting in board.settings:
        for series in setting.series:
            name = re.sub(r"[^\w.-]", "_", f"workspace-{setting.name}-{series.name}")
            found[name] = _View(board, setting, series).workspace(project, entity)
    return found


def report(board: Any, *, project: str, entity: str) -> Any:
    """Return the sweep's ``wandb_workspaces.reports.v2.Report``."""
    wr = require().wr
    arms = [("arm", "W&B job type", "trained with"), *((a.label, f"`{a.name}`", a.method or "–") for a in board.arms)]
    blocks = [wr.P(board.question)] if board.question else []
    blocks += [wr.MarkdownBlock(board.lead)] if board.lead else []
    blocks += [wr.P(f"{board.progress.capitalize()}. {READING}"), wr.TableOfContents()]
    blocks += [wr.H1("Arms"), wr.MarkdownBlock(format.markdown(arms))]
    for section in board.sections:
        blocks.append(wr.H1(section.name))
        blocks += [wr.MarkdownBlock(_markdown(panel)) for panel in section.panels if panel.kind == "table"]
        if panels := [panel for panel in section.panels if panel.kind != "table"]:
            blocks.append(_View(board).grid(section.name, panels))
    if board.provenance:
        said = "".join(f"- {key}: `{value}`\n" for key, value in board.provenance.items())
        blocks += [wr.H1("Provenance"), wr.MarkdownBlock(f"{said}\nThe records on disk are the source of all of it.")]
    title = f"superpositional: {board.sweep}"[:LONGEST]
    return wr.Report(entity=entity, project=project, title=title, description=board.question, blocks=blocks, width="fluid")


def write(board: Any, folder: Path, *, project: str, entity: str | None) -> list[Path]:
    """Write what would be sent, as JSON; the same records give the same text."""
    folder.mkdir(parents=True, exist_ok=True)
    place = {"project": project, "entity": entity or ""}
    made = report(board, **place)
    models = {name: (view.name, view._to_model()) for name, view in workspaces(board, **place).items()}
    files = []
    for name, (title, model) in {**models, "report": (made.title, made._to_model())}.items():
        spec = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
        text = json.dumps({**place, "name": title, "spec": spec}, indent=1, sort_keys=True, ensure_ascii=False)
        files.append(folder / f"{name}.json")
        files[-1].write_text(f"{text}\n", encoding="utf-8", newline="\n")
    return files


def save(board: Any, *, project: str, entity: str | None = None) -> dict[str, str]:
    """Send the workspaces and the report, in place of what stands there under their names; return where each is.

    Raises:
        WorkspaceError: no key, no server that answers, or no such project.
    """
    lib = require()
    server, why = asked.reachable()
    if server is None:
        raise WorkspaceError(f"nothing was sent: {why}")
    import wandb

    with _asking(server):
        api = wandb.Api()
        entity = entity or api.default_entity
        if not entity:
            raise WorkspaceError("the key has no entity of its own; name one with --entity")
        if project not in [each.name for each in api.projects(entity)]:
            raise WorkspaceError(
                f"nothing was sent: there is no project {entity}/{project} on {server}, or the key may not see it; "
                f"`superpositional sync` sends runs there, or name another with --project and --entity"
            )
    views = workspaces(board, project=project, entity=entity)
    made = report(board, project=project, entity=entity)
    with _asking(server):
        urls = {}
        for name, view in views.items():
            try:  # A view that was saved under this name is replaced.
                view._internal_id = lib.views.View.from_name(entity, project, view._internal_name).id
            except ValueError:
                view._internal_id = ""
            urls[name] = view.save().url
        # The library knows a report by its id alone, which the server gives.
        same = [each.id for each in api.reports(f"{entity}/{project}") if each.display_name == made.title]
        made.id = same[0] if same else ""
        urls["report"] = made.save().url
    return urls


def require() -> SimpleNamespace:
    """Import the parts of wandb-workspaces that are used, without its warnings of its own use of pydantic.

    Raises:
        WorkspaceError: the library is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wandb_workspaces.reports.v2 as wr
            import wandb_workspaces.workspaces as ws
            from wandb_workspaces import expr
            from wandb_workspaces.workspaces import internal as views
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "wandb_workspaces":
            raise
        raise WorkspaceError("W&B's dashboards need wandb-workspaces: pip install '.[dashboard]'") from None
    return SimpleNamespace(wr=wr, ws=ws, expr=expr, views=views)


@contextmanager
def _asking(server: str) -> Iterator[None]:
    """Report in one line whatever the library, wandb or the network raises."""
    try:
        yield
    except WorkspaceError:
        raise
    except Exception as error:
        raise WorkspaceError(f"{server} refused: {asked.told(error)}") from error


class _View:
    """The runs that panels show, and how they are grouped: a sweep's by arm, or those of a series by its setting."""

    def __init__(self, board: Any, setting: Any = None, series: Any = None) -> None:
        self.board, self.setting, self.lib = board, setting, require()
        self.name = board.sweep if setting is None else f"{board.sweep} by {setting.name}, {series.name}"
        key, leaf = self.lib.expr.Key, self.lib.expr.Filters
        wanted = [leaf(op="=", key=key(section="run", name="group"), value=board.sweep, disabled=False)]
        if series is not None:
            arms = list(series.arms.values())
            wanted.append(leaf(op="IN", key=key(section="run", name="jobType"), value=arms, disabled=False))
        self.filters = self.lib.expr.filters_tree_to_v2(leaf(op="AND", filters=wanted))

    def narrow(self, owner: Any, settings: Any) -> None:
        """Set the filters as the library's own loader does: its strings turn the = of an arm's name into ==."""
        settings.filters = self.lib.expr.filters_v2_to_string(self.filters)
        owner._stashed_filters_v2, owner._stashed_filter_string = self.filters, settings.filters

    def workspace(self, project: str, entity: str) -> Any:
        lib, board, setting = self.lib, self.board, self.setting
        words = [each for each in (board.lead, board.question, f"{board.progress.capitalize()}.", READING) if each]
        sections = [lib.ws.Section(name="In short", panels=[self.words("in short", "\n\n".join(words))], is_open=True)]
        for section in board.sections:
            # In the workspace of a setting only what is by step or along it.
            shown = [
                each for each in section.panels if setting is None or each.kind == "line" or each.against == setting.key
            ]
            if panels := [self.panel(self.name, each) for each in shown]:
                sections.append(lib.ws.Section(name=section.name, panels=panels, is_open=True))
        # Groups of a setting's values have W&B's colours.
        colors = {arm.name: arm.colour for arm in board.arms} if setting is None else {}
        by = lib.expr.Metric(ARM) if setting is None else lib.expr.Config(setting.key)
        made = lib.ws.Workspace(
            entity=entity,
            project=project,
            # A view's name may hold no symbols, among which W&B counts = and +.
            name=re.sub(r"[^\w '.,:()-]", "-", self.name),
            sections=sections,
            settings=lib.ws.WorkspaceSettings(x_axis=STEP, smoothing_type="none", max_runs=max(10, len(board.arms))),
            runset_settings=lib.ws.RunsetSettings(groupby=[by], group_colors=colors),
        )
        self.narrow(made, made.runset_settings)
        made._internal_name = f"nw-{_hash(board.sweep, self.name)[:11]}-v"
        made._internal_runset_id = _hash(self.name, "runs")[:9]
        return made

    def grid(self, name: str, panels: Sequence[Any]) -> Any:
        """Return a report's panels with their runs, which are of the report's own entity and project."""
        wr = self.lib.wr
        runs = wr.Runset(name=self.name, groupby=[f"run.{ARM}"])
        self.narrow(runs, runs)
        runs._id = _hash(self.name, name, "runs")[:9]
        made = [self.panel(f"{self.name} report {name}", panel) for panel in panels]
        for place, panel in enumerate(made):
            panel.layout = wr.Layout(x=place % 3 * 8, y=place // 3 * 7, w=8, h=7)  # three in W&B's 24 columns
        return wr.PanelGrid(runsets=[runs], panels=made)

    def panel(self, name: str, panel: Any) -> Any:
        if panel.kind == "table":
            return self.words(f"{name} {panel.title}", _markdown(panel))
        wr, log = self.lib.wr, panel.log or None
        by = ARM if self.setting is None else wr.Config(self.setting.key)
        mean = {"title": f"{panel.title} ({BAND})", "groupby": by, "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
        if panel.kind == "line":
            mean |= {"smoothing_type": "none", "max_runs_to_show": max(10, len(self.board.arms)), "title_x": "step"}
            made = wr.LinePlot(x=wr.Metric(STEP), y=[wr.Metric(panel.metric)], log_y=log, smoothing_factor=0.0, **mean)
        elif panel.kind == "bar":
            made = wr.BarPlot(metrics=[wr.Metric(panel.metric)], **mean)
        else:
            along = next(each.name for each in self.board.settings if each.key == panel.against)
            axes = {"x": wr.Config(panel.against), "y": wr.SummaryMetric(panel.metric)}
            made = wr.ScatterPlot(title=f"{panel.title}, by {along}", log_y=log, **axes)
        made._id = _hash(name, panel.kind, panel.metric, panel.against)[:12]
        return made

    def words(self, name: str, markdown: str) -> Any:
        made = self.lib.wr.MarkdownPanel(markdown=markdown)
        made._id = _hash(self.name, name)[:12]
        return made


def _markdown(panel: Any) -> str:
    return "\n\n".join(part for part in (format.markdown(list(panel.rows)) if panel.rows else "", panel.words) if part)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
