"""Do a model's weights come from where they are said to, and is what is not to be had refused with its cure?"""

import importlib.util
import json
import re
import shutil
import threading
from pathlib import Path

import pytest
import torch

from superpositional.tasks.gsm8k import hub
from superpositional.tasks.gsm8k.hub import SourceError
from superpositional.tasks.gsm8k.net import CausalLM

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def unremembered():
    """Each test asks anew."""
    for function in (hub.origin, hub.tokenizer, hub.architecture):
        function.cache_clear()
    yield
    for function in (hub.origin, hub.tokenizer, hub.architecture):
        function.cache_clear()


def saved(folder: Path) -> CausalLM:
    torch.manual_seed(5)
    net = CausalLM(model="tiny")
    net.language_model.save_pretrained(folder)
    hub.tokenizer("tiny").save_pretrained(folder)
    return net


def same_weights(one: CausalLM, other: CausalLM) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_a_folder_gives_its_weights_and_is_named_by_what_it_holds(tmp_path) -> None:
    net = saved(tmp_path / "mine")
    found = CausalLM(model=str(tmp_path / "mine"))
    assert same_weights(net, found)
    notes = found.notes()
    assert (notes["name"], notes["source"], len(notes["revision"])) == ("mine", "folder", 16)
    shutil.copytree(tmp_path / "mine", tmp_path / "moved")
    assert CausalLM(model=str(tmp_path / "moved")).notes()["revision"] == notes["revision"]


def test_the_hubs_model_is_read_from_its_cache_and_named_by_its_commit(tmp_path, monkeypatch) -> None:
    """A cache as the hub's own library lays it out; the hub itself is out of reach here."""
    place = tmp_path / "models--owner--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    net = saved(place / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = CausalLM(model="owner/name")
    assert same_weights(net, found)
    assert (found.notes()["source"], found.notes()["revision"]) == ("hub, owner/name", COMMIT)


def test_on_the_meta_device_no_weight_is_read(tmp_path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with torch.device("meta"):
        net = CausalLM(model=str(tmp_path))
    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}
    assert net.context == 2048


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "nonsense",
            "model must be one of smollm2_135m, llama_3_2_1b, tiny, a folder that is there, or a hub's owner/name",
        ),
        ("./not/there", "model must be one of"),
        ("", "model must be one of"),
    ],
)
def test_a_model_that_is_nowhere_is_refused(model, message) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        hub.origin(model)


def test_a_folder_without_a_config_or_a_chat_template_is_refused(tmp_path) -> None:
    with pytest.raises(SourceError, match=r"has no config\.json; name a folder that save_pretrained has left"):
        hub.origin(str(tmp_path))
    saved(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(SourceError, match="has no chat template, so nothing says how a question is put to it"):
        hub.tokenizer(str(tmp_path))


def test_a_folder_that_holds_a_part_of_a_model_is_refused(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    saved(tmp_path)
    weights = tmp_path / "model.safetensors"
    left = load_file(weights)
    lost = sorted(left)[1]
    save_file({name: value for name, value in left.items() if name != lost}, weights, metadata={"format": "pt"})
    with pytest.raises(SourceError, match=f"lacks the weights {re.escape(lost)}; name one that save_pretrained has left"):
        CausalLM(model=str(tmp_path))
    weights.unlink()
    hub.origin.cache_clear()
    with pytest.raises(SourceError, match=r"has no weights, \*\.safetensors; name a folder"):
        hub.origin(str(tmp_path))


def test_a_snapshot_that_lacks_a_part_of_its_weights_is_not_whole(tmp_path, monkeypatch) -> None:
    """An interrupted download leaves one; with the hub out of reach that is said, not a model made of what is there."""
    place = tmp_path / "models--owner--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    folder = place / "snapshots" / COMMIT
    saved(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="is not in the hub's cache and the hub cannot be reached"):
        CausalLM(model="owner/name")


def test_a_models_own_code_is_neither_run_nor_asked_about(tmp_path) -> None:
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    ours = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "mine", "auto_map": ours}))
    (tmp_path / "mine.py").write_text("raise SystemExit('a stranger code ran')")
    with pytest.raises(SourceError, match=r"transformers can use|has no tokenizer"):
        CausalLM(model=str(tmp_path))


def test_a_cache_that_cannot_be_written_is_named_with_its_cure(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(SourceError, match=r"cannot be written .*; set SUPERPOSITIONAL_CACHE to a folder that can"):
        hub.made_once("name", lambda folder: None)


def test_without_network_and_cache_the_cure_is_named_and_comes_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="the hub cannot be reached") as told:
        hub.origin("llama_3_2_1b")
    assert "set net.model to a folder with its files" in str(told.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GatedRepoError", "is gated and this account has no access; accept its licence on its page of the hub, then"),
        ("RepositoryNotFoundError", "the hub has no model meta-llama/Llama-3.2-1B-Instruct, or none for this account"),
    ],
)
def test_what_the_hub_refuses_is_said_with_its_cure(tmp_path, monkeypatch, name, message) -> None:
    import huggingface_hub

    error = getattr(huggingface_hub.errors, name)

    def refuse(self, *_, **__):
        raise error.__new__(error)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", refuse)
    with pytest.raises(SourceError, match=re.escape(message)):
        hub.origin("llama_3_2_1b")


@pytest.mark.parametrize("missing", ["transformers", "peft", "huggingface_hub"])
def test_a_missing_extra_is_named_with_the_command_that_brings_it(monkeypatch, missing) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    calls = {
        "transformers": lambda: CausalLM(model="tiny"),
        "peft": lambda: CausalLM(model="tiny", lora={"r": 2}),
        "huggingface_hub": lambda: hub.snapshot("a/b", None, "model", hub.SMALL_FILES, cure=""),
    }
    message = rf"needs {missing}, which is not installed; pip install '\.\[llm\]'"
    with pytest.raises(SourceError, match=message):
        calls[missing]()


def test_what_is_made_once_is_whole_whoever_is_interrupted_and_however_many_make_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(tmp_path))

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub.made_once("thing", interrupted)
    assert list(tmp_path.iterdir()) == []
    together = threading.Barrier(3)

    def make(folder: Path) -> None:
        together.wait()
        (folder / "whole").write_text("y")

    threads = [threading.Thread(target=hub.made_once, args=("thing", make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    assert (tmp_path / "thing" / "whole").read_text() == "y"
    assert (tmp_path / "thing").stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
def test_smollm2_is_converted_on_a_real_device_though_it_is_a_check_that_asks_for_it_first(door, monkeypatch) -> None:
    made_on = []

    def make(name: str, _) -> None:
        made_on.append(torch.get_default_device().type)
        raise hub.SourceError("looked at")

    monkeypatch.setattr(hub, "made_once", make)
    hub.origin.cache_clear()
    try:
        code, _, err = door("train", "scale=small", "data.path=null", "data.source=stand_in", "logger=none")
    finally:
        hub.origin.cache_clear()
    # The check goes on, and each mistake is told once.
    assert (code, err.count("looked at")) == (2, 1)
    assert made_on[0] == "cpu"


def test_smollm2_is_converted_once_and_trains_in_float32(tmp_path, monkeypatch) -> None:
    if importlib.util.find_spec(hub.PACKAGE) is None:
        pytest.skip(f"SmolLM2's weights are not installed; {hub.INSTALL}")
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(tmp_path))
    net = CausalLM(model="smollm2_135m")
    assert net.notes()["parameters"] == 134_515_008
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    hub.origin.cache_clear()
    assert same_weights(net, CausalLM(model="smollm2_135m"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == made
