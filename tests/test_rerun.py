"""Is a run that comes out again told from one that does not, and is no other run made in its place?"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import statuses
from test_sweep import write_sweep

from superpositional import cli, records
from superpositional.records import Run, published
from superpositional.sweeps.rerun import Rerun
from superpositional.tasks.classification.task import ClassificationTask

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
ARMS = {
    "adam": ["optimizer=adam"],
    "quantum": ["net/attention=quantum", "optimizer=circuit"],
    "lost": ["optimizer=adam", "optimizer.lr=1e30"],
}
ANOTHER = "would make it another run; only where things lie may be told anew"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A real sweep of three steps a run, one of whose arms diverges: its own folder, and a published copy."""
    folder = tmp_path_factory.mktemp("made")
    path = write_sweep(folder, ARMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["superpositional"])
        patch.setenv("WANDB_MODE", "offline")
        with pytest.raises(SystemExit, match="1"):  # one of its runs is not done
            cli.main(["sweep", str(path), "seed=3", "--jobs", "1"])
    own = folder / "outputs" / "mine"
    assert statuses(own) == {"adam/seed-3": "done", "lost/seed-3": "diverged", "quantum/seed-3": "done"}
    published.publish(records.load_sweep(own), folder / "published", source=own)
    return {"own": own, "published": folder / "published"}


def recorded(folder: Path, arm: str) -> Run:
    (run,) = [run for run in records.load_sweep(folder).runs if run.arm == arm]
    return run


def changed(folder: Path, to: Path, arm: str, change: dict[str, Any]) -> Path:
    """A copy of published records in which somebody has been at one arm's."""
    shutil.copytree(folder, to)
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    for line in lines:
        if line["record"]["arm"] == arm:
            line["record"] = records.merged(line["record"], change)
    (to / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to


# The same ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["own", "published"])
@pytest.mark.parametrize("arm", ARMS)
def test_a_run_comes_out_again_bit_for_bit_one_that_diverged_too(door, workplace, made, arm, place) -> None:
    before = recorded(made[place], arm)
    code, out, err = door("rerun", str(made[place]), arm, "3")
    assert code == 0, out + err
    folder = Path("outputs", "rerun", made[place].name, arm, "seed-3")
    assert f"{before.status}, as recorded\nbit for bit the same: " in out
    assert f" metrics, sha256 {published.digest(before)}\n{folder}\n" in out
    assert "made with" not in out
    # As a run it is the same, too, and what it logged is there whole.
    record = records.read_record(folder)
    assert [record[key] for key in ("identity", "family", "claims", "arm", "seed")] == [
        before.record[key] for key in ("identity", "family", "claims", "arm", "seed")
    ]
    own, again = (recorded(made["own"], arm).curves, records.read_curves(folder / "curves.csv"))
    assert set(own) == set(again)
    for name in own:
        if not name.startswith(published.CLOCKS):
            # NaN equals itself here: a loss that diverged comes out again.
            assert np.array_equal(own[name][1], again[name][1], equal_nan=True)


def test_a_sweep_is_found_by_its_name_and_its_run_goes_where_it_is_told_to(door, workplace, made) -> None:
    shutil.copytree(made["own"], workplace / "outputs" / "mine")
    code, out, err = door("rerun", "mine", "adam", "3", "--out", "there")
    assert (code, out.splitlines()[-1]) == (0, "there"), err
    assert statuses(workplace / "outputs") == statuses(made["own"].parent)
    assert records.read_record(workplace / "there")["status"] == "done"


def test_what_it_was_made_with_is_told_of_numbers_that_are_the_same_too(door, workplace, made) -> None:
    versions = {"torch": "1.0", "qiskit": "0.1", "wandb": "0.0"}
    change = {"code": "0123456789abcdef", "processor": "an abacus", "versions": versions}
    before = recorded(made["published"], "adam").record
    code, out, err = door("rerun", str(changed(made["published"], workplace / "old", "adam", change)), "adam", "3")
    assert code == 0, out + err
    assert [line for line in out.splitlines() if line.startswith("made with")] == [
        f"made with code {before['code']}, not 0123456789abcdef",
        f"made with processor {before['processor']}, not an abacus",
        # W&B's changes no number.
        f"made with torch {before['versions']['torch']}, not 1.0",
        f"made with qiskit {before['versions']['qiskit']}, not 0.1",
    ]


# Not the same --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"digest": "0" * 64}, ["  the curves, and no summary"]),
        ({"summary": {"test/accuracy": 0.5}}, ["  test/accuracy: {test/accuracy!r} for 0.5"]),
        (
            {"digest": "0" * 64, "summary": {"test/loss": 1e3, "val/loss/last": 1.4, "convergence/gone": 1.0}},
            # Of both, the farthest first.
            [
                "  convergence/gone: none for 1.0",
                "  test/loss: {test/loss!r} for 1000.0",
                "  val/loss/last: {val/loss/last!r} for 1.4",
            ],
        ),
    ],
    ids=["digest", "summary", "both"],
)
@pytest.mark.parametrize("other", [{}, {"code": "0123456789abcdef", "processor": "an abacus"}], ids=["", "elsewhere"])
def test_what_does_not_come_out_again_is_named_with_what_else_is_different(
    door, workplace, made, change, told, other
) -> None:
    before = recorded(made["published"], "adam").record
    folder = changed(made["published"], workplace / "old", "adam", change | other)
    code, out, _ = door("rerun", str(folder), "adam", "3")
    assert code == 1
    first, second, *rest = out.splitlines()
    assert (first, second.partition(":")[0]) == ("done, as recorded", "not the same")
    expected = [line.format_map(_Literal(before["summary"])) for line in told]
    if other:
        expected += [f"made with {name} {before[name]}, not {value}" for name, value in other.items()]
    else:
        expected += ["and nothing that is recorded of code, versions and processor is different"]
    assert rest == [*expected, str(Path("outputs", "rerun", "old", "adam", "seed-3"))]


class _Literal(dict):
    """For ``format_map``: a metric's name is a key as it stands."""


def test_a_number_that_was_changed_in_the_runs_own_folder_does_not_come_out_again(door, workplace, made) -> None:
    folder = workplace / "outputs" / "mine"
    shutil.copytree(made["own"], folder)
    path = folder / "adam" / "seed-3" / "record.json"
    record = records.read_json(path)
    records.write_json(path, record | {"summary": record["summary"] | {"test/accuracy": 0.99}})
    code, out, _ = door("rerun", "mine", "adam", "3", "--out", "one")
    assert (code, f"  test/accuracy: {record['summary']['test/accuracy']!r} for 0.99" in out) == (1, True)
    # The last bit of one logged value.
    records.write_json(path, {name: value for name, value in record.items() if name != "curves"})
    curves = path.with_name("curves.csv")
    head, row, *rows = curves.read_text().splitlines()
    step, metric, value = row.split(",")
    curves.write_text("\n".join([head, f"{step},{metric},{float(np.nextafter(float(value), 9))!r}", *rows]) + "\n")
    code, out, _ = door("rerun", "mine", "adam", "3", "--out", "two")
    assert (code, "  the curves, and no summary" in out) == (1, True)
    # A record that holds its curves' hash is not compared with others.
    records.write_json(path, record)
    code, _, err = door("rerun", "mine", "adam", "3", "--out", "three")
    assert (code, "curves.csv is not what its record was written with" in err) == (2, True)


def test_another_end_is_not_the_same_and_says_why(door, workplace, made) -> None:
    folder = changed(made["published"], workplace / "old", "lost", {"status": "done"})
    code, out, _ = door("rerun", str(folder), "lost", "3")
    assert code == 1
    assert "diverged, and not done as recorded: train/loss is nan at step 2\nnot the same: " in out
    folder = changed(made["published"], workplace / "older", "adam", {"status": "diverged"})
    code, out, _ = door("rerun", str(folder), "adam", "3")
    assert (code, out.startswith("done, and not diverged as recorded\nnot the same: ")) == (1, True)


def a_run(summary: dict[str, float | None], **curves: list[float]) -> Run:
    arrays = {name.replace("__", "/"): (np.arange(len(values)), np.array(values)) for name, values in curves.items()}
    return Run("mine", "adam", 0, "done", {"summary": summary}, arrays)


def test_clocks_are_not_asked_and_what_later_code_adds_to_a_summary_is_no_difference() -> None:
    before = a_run({"a": 1.0, "convergence/seconds_to_target": 3.0, "time/x": 1.0}, a=[1.0, 2.0], time__elapsed=[0.1])
    after = a_run({"a": 1.0, "convergence/seconds_to_target": 4.0, "b": 2.0}, a=[1.0, 2.0], time__elapsed=[0.2])
    assert Rerun(before, after, ()).same
    assert "bit for bit the same: 2 numbers of 1 metrics" in Rerun(before, after, ()).text
    assert not Rerun(after, before, ()).same
    assert "  b: none for 2.0" in Rerun(after, before, ()).text.splitlines()
    # A value that has no JSON is none, and again none.
    assert Rerun(a_run({"a": None}), a_run({"a": None}), ()).same


# Refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SWEEP", "adma", "3"], "arm must be one of adam, quantum, lost, got 'adma'"),
        (["SWEEP", "adam", "4"], "seed of adam must be one of 3, got 4"),
        (["nowhere", "adam", "3"], "no sweep in outputs/nowhere: it holds no sweep.json"),
        (["SWEEP", "adam", "3", "--out", "taken"], "taken holds a run already; choose another with --out"),
        # Its checkpoints would be removed.
        (["SWEEP", "adam", "3", "--out", "killed"], "killed holds a run already; choose another with --out"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_run_again_is_refused_with_one_error_and_nothing_is_written(
    door, workplace, made, words, message
) -> None:
    for folder, name in (("taken", "record.json"), ("killed", records.RUNNING)):
        (workplace / folder).mkdir()
        (workplace / folder / name).write_text('{"status": "done"}')
    (workplace / "file").write_text("")
    refused(door, workplace, [str(made["own"]) if word == "SWEEP" else word for word in words], message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=0.1", f"optimizer.lr=0.1 {ANOTHER}"),
        ("threads=2", f"threads=2 {ANOTHER}"),
        ("seed=4", f"seed=4 {ANOTHER}"),
        ("arm=other", f"arm=other {ANOTHER}"),
        ("logger=wandb", f"logger=wandb {ANOTHER}"),
        ("resume=outputs/mine/adam/seed-3", f"resume=outputs/mine/adam/seed-3 {ANOTHER}"),
        ("data=gsm8k", f"data=gsm8k {ANOTHER}"),
        ("optimizer.lr=0.1,0.2", f"optimizer.lr=0.1,0.2 {ANOTHER}"),
        ("optimizer._target_=/tmp/Adam", f"optimizer._target_=/tmp/Adam {ANOTHER}"),
        ("data.path=rows", "data.path is not in the run's config; drop it"),
        ("hydra.run.dir=there", "hydra.run.dir is not in the run's config; drop it"),
        ("threads=[", "'threads=[' is no override"),
        ("threads", "'threads' is no override"),
    ],
)
def test_an_override_that_would_make_it_another_run_is_refused(door, workplace, made, override, message) -> None:
    refused(door, workplace, [str(made["published"]), "adam", "3", override], message)


def test_a_damaged_line_is_named(door, workplace, made) -> None:
    folder = workplace / "damaged"
    shutil.copytree(made["published"], folder)
    lines = (folder / "runs.jsonl").read_text().splitlines(keepends=True)
    (folder / "runs.jsonl").write_text("".join([lines[0], lines[1][:100], *lines[2:]]))
    refused(door, workplace, [str(folder), "adam", "3"], "runs.jsonl, line 2 is damaged (")


def test_a_strangers_record_runs_no_code(door, workplace, made) -> None:
    change = {"config": {"callbacks": {"probe": {"_target_": "os.system", "command": "touch here"}}}}
    folder = changed(made["published"], workplace / "theirs", "adam", change)
    refused(door, workplace, [str(folder), "adam", "3"], "_target_ os.system is outside superpositional, torch")


def refused(door, workplace: Path, words: list[str], message: str) -> None:
    before = sorted(workplace.rglob("*"))
    code, out, err = door("rerun", *words)
    assert (code, out) == (2, "")
    assert err.startswith("superpositional: ")
    assert message in " ".join(err.split())
    assert sorted(workplace.rglob("*")) == before


# Ended by hand -------------------------------------------------------------------------------------------------------


def test_on_ctrl_c_it_ends_as_every_command_does(door, workplace, made, monkeypatch) -> None:
    def interrupts(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassificationTask, "training_step", interrupts)
    code, out, _ = door("rerun", str(made["own"]), "adam", "3")
    assert code == 130
    assert "interrupted, and not done as recorded" in out


# Where things lie ----------------------------------------------------------------------------------------------------


def test_data_and_model_may_lie_elsewhere_than_they_did(door, workplace) -> None:
    if not GSM8K.is_dir():
        pytest.skip("GSM8K is not beside this checkout, in ../shared/data/gsm8k")
    from superpositional.tasks.gsm8k import hub
    from superpositional.tasks.gsm8k.net import CausalLM

    there, here = workplace / "there", workplace / "here"
    (there / "rows").mkdir(parents=True)
    for split, count in (("train", 12), ("test", 4)):
        lines = [line for line in (GSM8K / f"{split}.jsonl").read_text().splitlines() if len(line) < 500][:count]
        (there / "rows" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    torch.manual_seed(5)
    CausalLM(model="tiny").language_model.save_pretrained(there / "model")
    hub.tokenizer("tiny").save_pretrained(there / "model")
    path = write_sweep(workplace, {"adamw": ["optimizer=adamw"]}, callbacks={"checkpoint": None, "exact_match": None})
    words = ["scale=tiny", "net=pretrained", f"net.model={there / 'model'}", f"data.path={there / 'rows'}", "seed=0"]
    code, _, err = door("sweep", str(path), "--jobs", "1", "trainer.limit_train_batches=2", *words)
    assert code == 0, err
    # A record says nothing of the machine's own folders.
    assert str(workplace) not in (workplace / "outputs/mine/adamw/seed-0/record.json").read_text()
    there.rename(here)
    # A record's config is resolved: what stood in one place is told in each.
    moved = [f"net.model={here / 'model'}", f"data.model={here / 'model'}", f"data.path={here / 'rows'}"]
    code, out, err = door("rerun", "mine", "adamw", "0", *moved, "--out", "again")
    assert (code, "done, as recorded\nbit for bit the same" in out) == (0, True), out + err
    # Rows that are not the recorded ones are told by their hash.
    (here / "rows" / "test.jsonl").write_text((here / "rows" / "train.jsonl").read_text())
    code, out, _ = door("rerun", "mine", "adamw", "0", *moved, "--out", "other")
    assert code == 1
    assert "failed, and not done as recorded: ValueError: path=rows holds other rows than source=jsonl:" in out
    assert "made with" not in out
    refused(door, workplace, ["mine", "adamw", "0", f"net.model={here / 'rows'}", "--out", "third"], ANOTHER)
