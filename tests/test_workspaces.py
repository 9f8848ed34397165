"""Is the dashboard on W&B the spec's, does it survive W&B's own loader, and is nothing sent that was not asked for?

There is no server here: what stands in for it keeps what the library sends and hands it out again. All else is the library.
"""

import base64
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_analysis import write_sweep
from test_dashboard import deep, four, made_up

from superpositional.report import dashboard
from superpositional.report.write import write_report
from superpositional.tracking import server as asked
from superpositional.tracking import workspaces
from superpositional.tracking.run import STEP
from superpositional.tracking.workspaces import WorkspaceError

PLACE = {"project": "project", "entity": "team"}
TABLES = {"Verdicts": ("The rule.", [("claim", "verdict"), ("C1", "equivalent | so")])}


@dataclass
class Server:
    """Keeps views by name, as the three queries that the library makes expect; stands in for ``wandb.Api`` too."""

    views: dict[str, dict] = field(default_factory=dict)
    project: bool = True
    app_url: str = "https://wandb.test"
    default_entity: str = "team"

    def execute_graphql(self, query: str, variables: dict) -> dict:
        if "mutation" in query:
            # As the library sends it: an id if it is to replace one.
            known = next((view for view in self.views.values() if view["id"] == variables.get("id")), None)
            assert not variables.get("id") or known
            name = variables["name"] if known is None else known["name"]
            view = {key: variables[key] for key in ("displayName", "description", "spec", "type")} | {"name": name}
            new = base64.b64encode(f"View:{len(self.views):03}".encode()).decode()
            view |= {"id": known["id"] if known else new, "project": self.place(variables)}
            self.views[name] = view
            return {"upsertView": {"view": view, "inserted": known is None}}
        if "SpecificReport" in query:
            return {"view": next(view for view in self.views.values() if view["id"] == variables["reportId"])}
        found = [view for view in self.views.values() if view["name"] == variables["viewName"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in found]}} if self.project else None}

    def place(self, variables: dict) -> dict:
        return {"name": variables["projectName"], "entityName": variables["entityName"]}

    def reports(self, path: str) -> list[SimpleNamespace]:
        assert path == "team/project"
        reports = [view for view in self.views.values() if view["type"] == "runs"]
        return [SimpleNamespace(id=view["id"], display_name=view["displayName"]) for view in reports]

    def projects(self, entity: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="project")] if self.project else []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    made._service_api = made
    monkeypatch.setattr("wandb.Api", lambda: made)
    monkeypatch.setattr(asked, "reachable", lambda: (made.app_url, "a key is set"))
    return made


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a network fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be sent or asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("wandb.Api", refuse)


def board(arms: dict | None = None) -> dashboard.Dashboard:
    metrics = ("circuit/optimizer/entanglement", "perturbation/ratio", "mine/scalar")
    sweep = made_up(deep() if arms is None else arms, metrics=metrics)
    return dashboard.of(sweep, lead="**In short.** Nothing.", tables=TABLES, provenance={"code": "c0de"})


def plain(model) -> dict:
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))


# What is built -----------------------------------------------------------------------------------------------------


def test_every_panel_of_the_spec_stands_in_the_workspace_under_its_section_and_nothing_is_asked(silent):
    spec = board()
    made = workspaces.workspaces(spec, **PLACE)["workspace"]
    summary, *sections = made.sections
    assert summary.panels[0].markdown.startswith("**In short.** Nothing.\n\nDoes it work?\n\n48 of 48 runs done.\n\nOn W&B")
    assert [section.name for section in sections] == [section.name for section in spec.sections]
    kinds = {"line": "LinePlot", "bar": "BarPlot", "scatter": "ScatterPlot", "table": "MarkdownPanel"}
    for section, planned in zip(sections, spec.sections, strict=True):
        for shown, panel in zip(section.panels, planned.panels, strict=True):
            assert type(shown).__name__ == kinds[panel.kind]
            if panel.kind == "line":
                assert ([y.name for y in shown.y], shown.x.name) == ([panel.metric], STEP)
                assert (shown.groupby, shown.groupby_aggfunc, shown.groupby_rangefunc) == ("JobType", "mean", "stderr")
                # W&B has no t interval, so the title says which band it is.
                assert shown.title == f"{panel.title} (mean ± standard error over seeds)"
                assert (shown.smoothing_type, shown.log_y) == ("none", panel.log or None)
            elif panel.kind == "bar":
                assert [metric.name for metric in shown.metrics] == [panel.metric]
            elif panel.kind == "scatter":
                assert (shown.x.name, shown.y.name) == (panel.against, panel.metric)
            else:
                assert shown.markdown == "| claim | verdict |\n| --- | --- |\n| C1 | equivalent \\| so |\n\n\nThe rule."


def test_the_workspace_is_of_the_sweeps_runs_grouped_by_arm_in_the_figures_colours(silent):
    spec = workspaces.workspaces(board(four()), **PLACE)["workspace"]._to_model().spec.section
    (runs,) = spec.run_sets
    assert runs.filters == {
        "filterFormat": "filterV2",
        "filters": [{"key": {"section": "run", "name": "group"}, "op": "=", "value": "made_up", "disabled": False}],
    }
    assert [(key.section, key.name) for key in runs.grouping] == [("run", "jobType")]
    assert list(spec.custom_run_colors.values()) == ["#000000", "#0072B2", "#E69F00", "#009E73"]


def test_each_series_of_a_setting_has_a_workspace_of_its_arms_alone_grouped_by_the_setting(silent):
    found = workspaces.workspaces(board(), **PLACE)
    assert list(found) == ["workspace", "workspace-depth-circuit", "workspace-depth-attention"]
    spec = found["workspace-depth-circuit"]._to_model().spec.section
    (runs,) = spec.run_sets
    assert [(each["key"]["name"], each["op"], each["value"]) for each in runs.filters["filters"]] == [
        ("group", "=", "made_up"), ("jobType", "IN", ["circuit_1", "circuit_2", "circuit_4"]),
    ]  # fmt: skip
    assert [(key.section, key.name) for key in runs.grouping] == [("config", "circuit.value.depth")]
    lines = [panel for section in found["workspace-depth-circuit"].sections for panel in section.panels]
    assert {panel.groupby.name for panel in lines if type(panel).__name__ == "LinePlot"} == {"circuit.depth"}


def test_the_report_says_question_answer_arms_verdicts_and_provenance_beside_the_panels(silent):
    made = workspaces.report(board(four()), **PLACE)
    words = [block.text for block in made.blocks if hasattr(block, "text")]
    assert words[:2] == ["Does it work?", "**In short.** Nothing."]
    assert "| sgd | `sgd` | torch's SGD |" in "".join(words)
    assert "| placebo | `placebo` | AdamW but for one bit |" in "".join(words)
    assert "| C1 | equivalent \\| so |" in "".join(words)
    assert "- code: `c0de`" in "".join(words)
    assert "24 of 24 runs done" in words[2].lower()
    assert "no t interval" in words[2]
    shown = {panel.title for block in made.blocks if type(block).__name__ == "PanelGrid" for panel in block.panels}
    assert {f"{name} (mean ± standard error over seeds)" for name in ("training loss", "test accuracy")} <= shown
    grids = [block._to_model().metadata for block in made.blocks if type(block).__name__ == "PanelGrid"]
    assert {(key.section, key.name) for grid in grids for runs in grid.run_sets for key in runs.grouping} == {
        ("run", "jobType")
    }
    assert all(runs.filters["filters"][0]["value"] == "made_up" for grid in grids for runs in grid.run_sets)
    corners = [
        [(panel.layout.x, panel.layout.y) for panel in block.panels]
        for block in made.blocks
        if type(block).__name__ == "PanelGrid"
    ]
    assert all(len(set(each)) == len(each) for each in corners)


def test_the_specs_are_the_same_text_each_time_and_hold_no_runs_of_another_sweep(silent, tmp_path):
    files = workspaces.write(board(), tmp_path / "specs", **PLACE)
    specs = {path.name: path.read_text() for path in files}
    assert specs == {path.name: path.read_text() for path in workspaces.write(board(), tmp_path / "again", **PLACE)}
    assert set(specs) == {"workspace.json", "workspace-depth-circuit.json", "workspace-depth-attention.json", "report.json"}
    for text in specs.values():
        assert json.loads(text)["project"] == "project"
        assert text.count('"name": "group"') == text.count('"value": "made_up"') >= 1


def test_names_that_the_library_would_bend_or_refuse_arrive_as_they_are(silent):
    arms = {f"{name},circuit.depth={depth}": deep()[f"circuit_{depth}"] for name in ("a'b<c",) for depth in (1, 2)}
    found = workspaces.workspaces(board(arms), **PLACE)
    assert found["workspace-depth-a_b_c"].name == "made_up by depth, a'b-c"
    (runs,) = found["workspace-depth-a_b_c"]._to_model().spec.section.run_sets
    assert runs.filters["filters"][1]["value"] == list(arms)


# What the library makes of it --------------------------------------------------------------------------------------


def test_what_is_saved_comes_back_through_the_librarys_own_loader_as_it_was(server):
    lib = workspaces.require()
    urls = workspaces.save(board(), **PLACE)
    assert list(urls) == ["workspace", "workspace-depth-circuit", "workspace-depth-attention", "report"]
    assert all(url.startswith("https://wandb.test/team/project") for url in urls.values())
    for name, made in workspaces.workspaces(board(), **PLACE).items():
        loaded = lib.ws.Workspace.from_url(urls[name])
        assert (loaded.name, loaded.runset_settings.filters) == (made.name, made.runset_settings.filters)
        assert [section.name for section in loaded.sections] == [section.name for section in made.sections]
        for again, first in zip(loaded.sections, made.sections, strict=True):
            assert [panel._to_model() for panel in again.panels] == [panel._to_model() for panel in first.panels]
        assert plain(loaded._to_model().spec) == plain(made._to_model().spec)
    made = workspaces.report(board(), **PLACE)
    loaded = lib.wr.Report.from_url(urls["report"])
    assert [type(block) for block in loaded.blocks] == [type(block) for block in made.blocks]
    assert (loaded.title, loaded.description) == (made.title, made.description)
    # The library's loader forgets a report's width.
    loaded.width = made.width
    assert plain(loaded._to_model().spec) == plain(made._to_model().spec)


def test_saving_again_replaces_and_doubles_nothing(server):
    first = workspaces.save(board(), **PLACE)
    kept = {name: view["id"] for name, view in server.views.items()}
    assert len(kept) == 4
    changed = dashboard.of(made_up(deep()), lead="**In short.** More.")
    assert workspaces.save(changed, **PLACE) == first
    assert {name: view["id"] for name, view in server.views.items()} == kept
    assert any("More." in view["spec"] for view in server.views.values())
    # Of another sweep it is another's.
    workspaces.save(replace(board(four()), sweep="other"), **PLACE)
    assert len(server.views) == 6


# What cannot be ----------------------------------------------------------------------------------------------------


def test_without_a_key_a_server_or_a_project_it_is_said_with_the_cure(server, monkeypatch):
    server.project = False
    with pytest.raises(
        WorkspaceError, match=r"there is no project team/project on https://wandb.test.*`superpositional sync`"
    ):
        workspaces.save(board(), **PLACE)
    monkeypatch.setattr(asked, "reachable", lambda: (None, "no key is set; `wandb login` sets one"))
    with pytest.raises(WorkspaceError, match="nothing was sent: no key is set; `wandb login` sets one"):
        workspaces.save(board(), **PLACE)
    assert server.views == {}


def test_what_the_server_refuses_is_one_line(server, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("permission denied\nand much more")

    monkeypatch.setattr(server, "execute_graphql", refuse)
    with pytest.raises(WorkspaceError, match=r"^https://wandb.test refused: permission denied$"):
        workspaces.save(board(), **PLACE)


def test_a_missing_extra_is_one_line_with_the_command_and_other_missing_modules_are_themselves(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(WorkspaceError, match=r"^W&B's dashboards need wandb-workspaces: pip install '\.\[dash"):
        workspaces.require()


def test_neither_the_report_nor_the_module_itself_imports_the_library():
    code = (
        "import sys, superpositional.report.write, superpositional.tracking.workspaces\n"
        "print([name for name in ('wandb', 'wandb_workspaces', 'torch', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sweep(workplace: Path) -> Path:
    folder = workplace / "outputs" / "made_up"
    write_sweep(folder, {"adam": [0.9, 0.91, 0.92], "placebo": [0.9, 0.92, 0.91]})
    return folder


def test_a_dry_run_writes_the_page_and_the_specs_and_says_how_to_send_them(door, sweep, silent):
    code, out, err = door("dashboard", "made_up", "--dry-run", "--project", "p", "--entity", "e")
    assert (code, err) == (0, "")
    names = ["report/index.html", "dashboard/workspace.json", "dashboard/report.json"]
    assert out.splitlines()[:-1] == [f"outputs/made_up/{name}" for name in names]
    assert out.splitlines()[-1] == (
        "nothing was sent (--dry-run); `superpositional dashboard made_up` sends it where there is a key and a network"
    )
    assert all((sweep / name).is_file() for name in names)
    assert json.loads((sweep / "dashboard/report.json").read_text())["entity"] == "e"


def test_with_a_server_it_prints_where_the_dashboard_is_and_without_one_it_keeps_the_specs(
    door, sweep, server, monkeypatch
):
    # A node that is told to be offline asks nobody.
    code, out, _ = door("dashboard", "made_up", "--project", "project", "--out", "specs")
    assert (code, server.views) == (0, {})
    assert "nothing was sent (WANDB_MODE=offline)" in out
    assert (sweep.parents[1] / "specs" / "workspace.json").is_file()
    # The report is written once: it is the same in all that follows.
    report = write_report(sweep)
    monkeypatch.setattr("superpositional.report.write.write_report", lambda *_, **__: report)
    monkeypatch.delenv("WANDB_MODE")
    code, out, _ = door("dashboard", "made_up", "--project", "project")
    assert code == 0
    assert [line.partition(": https://wandb.test/team/project")[0] for line in out.splitlines()] == ["workspace", "report"]
    monkeypatch.setattr(asked, "reachable", lambda: (None, "no key is set; `wandb login` sets one"))
    code, out, err = door("dashboard", "made_up", "--project", "project")
    assert code == 1
    assert err == (
        "superpositional: nothing was sent: no key is set; `wandb login` sets one; "
        "`superpositional dashboard made_up` sends it where there is a key and a network\n"
    )
    assert (sweep / "dashboard" / "workspace.json").is_file()


def test_bad_input_is_refused_before_anything_is_sent(door, workplace, silent):
    code, _, err = door("dashboard", "nothing_here")
    assert code == 2
    assert "no sweep in" in err
    assert "dashboard" in door("dashboard", "--help")[1]
