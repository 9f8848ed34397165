"""``superpositional train`` and ``sweep``: Hydra composes, ``check`` refuses, ``run`` trains.

With ``--multirun`` the launcher starts the runs.
"""

import contextlib
import inspect
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from superpositional import places, records
from superpositional.places import ConfigError
from superpositional.records import identity, locks
from superpositional.training import check, ranks
from superpositional.training import config as configs
from superpositional.training.check_values import supplied
from superpositional.training.run import run, say


def job(cfg: DictConfig) -> dict[str, Any]:
    """Run what Hydra has composed, and return its record."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.resume is None:
        config = configs.compose_job(cfg)
    else:
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    try:
        record = run(config, folder, resume=cfg.resume is not None)
    except ConfigError as error:
        refuse(error)
    except OSError as error:
        cannot_write(error)
    summary = record["summary"].items()
    shown = [f"{name} {value:.4g}" for name, value in summary if name.startswith(("test/", "convergence/epochs"))]
    took = "" if record["wall_seconds"] is None else f" in {record['wall_seconds']:.1f} s"
    say(f"{record['status']}{took}: {', '.join(shown) or record['error']}\n{folder}")
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one run, or start a sweep's.

    Exits with 2 on bad input, before anything is written, with 1 if a run failed or diverged, and with 130 on Ctrl-C or 143
    on SIGTERM.
    """
    import hydra
    from hydra._internal.utils import get_args_parser

    given = list(sys.argv[1:] if arguments is None else arguments)
    options, unknown = get_args_parser().parse_known_intermixed_args(given)
    try:
        wrong = [f"{word} is not an option; see superpositional train --help" for word in unknown]
        # The first unpickles a file, the second replaces the folder in which what is checked here was looked up.
        for option, cure in (("experimental_rerun", "superpositional rerun"), ("config_path", "--config-dir")):
            if getattr(options, option) is not None:
                wrong.append(f"--{option.replace('_', '-')} of Hydra's is not supported; use {cure}")
        if wrong:
            raise ConfigError(wrong)
        overrides = _checked(options)
    except ConfigError as error:
        refuse(error)
    sys.argv = [sys.argv[0], *(word for word in given if word not in options.overrides), *overrides]
    outcome: list[dict[str, Any]] = []
    told: list[int] = []

    def task(cfg: DictConfig) -> None:
        ranks.interrupt_on_sigterm(told)
        ranks.keep_memory()
        outcome.append(job(cfg))

    start = hydra.main(version_base="1.3", config_path=str(configs.directory("conf")), config_name="train")(task)
    if options.help:
        with contextlib.suppress(SystemExit):  # Hydra leaves after its own help
            start()
        if options.config_dir is None:
            try:
                sys.stdout.write(_further(options.overrides))
            except ConfigError as error:
                refuse(error)
        return
    start()
    ended = {record["status"] for record in outcome}
    if "interrupted" in ended:
        sys.exit(128 + (told or [signal.SIGINT])[0])  # as a shell reports a signal
    if ended - {"done"}:
        sys.exit(1)


def refuse(error: ConfigError) -> NoReturn:
    """Write all that is wrong to standard error and exit with 2."""
    count = "one mistake" if len(error.mistakes) == 1 else f"{len(error.mistakes)} mistakes"
    lines = "".join(f"  - {mistake}\n" for mistake in error.mistakes)
    sys.stderr.write(f"superpositional: {count}, nothing was run\n{lines}")
    sys.exit(2)


def cannot_write(error: OSError) -> NoReturn:
    """Say which file could not be read or written, and exit with 2; what was written until then stays."""
    where = f"{error.filename}: " if error.filename else ""
    cure = "give a folder that can be written and has room: --out, hydra.run.dir=, hydra.sweep.dir="
    sys.stderr.write(f"superpositional: {where}{error.strerror or error}; {cure}\n")
    sys.exit(2)


def _checked(options: Any) -> list[str]:
    """Return the overrides as Hydra shall see them, once the config that they compose is checked."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    search_path = create_config_search_path(str(configs.directory("conf")))
    if options.config_dir is not None:
        if not Path(options.config_dir).is_dir():
            raise ConfigError([f"--config-dir must be a folder, got {options.config_dir!r}"])
        # As hydra.main does it.
        path = f"file://{Path(options.config_dir).resolve()}"
        search_path.prepend("command-line", path, anchor=SearchPathQuery(provider="schema", path=None))
    name = options.config_name or "train"
    GlobalHydra.instance().clear()
    try:
        with configs.composing(name):
            return _composed(Hydra.create_main_hydra2(task_name="train", config_search_path=search_path), name, options)
    finally:
        GlobalHydra.instance().clear()


def _composed(app: Any, name: str, options: Any) -> list[str]:
    from hydra.types import RunMode

    loader = app.config_loader
    overrides = configs.lift(options.overrides, loader)
    if options.shell_completion:
        return overrides
    _check_files(Path(options.config_dir or configs.directory("conf")), name, overrides, loader)
    mode = RunMode.MULTIRUN if options.multirun else app.get_mode(config_name=name, overrides=overrides)
    if options.help:
        # Hydra shows one config.
        overrides = [text for text in overrides if not configs.parse_override(text).is_sweep_override()]
        mode = RunMode.RUN
    cfg = loader.load_configuration(name, overrides, mode)
    check.check_hydra(cfg)
    if options.resolve:
        configs.compose_job(cfg)
    if options.help or options.hydra_help or options.cfg or options.info:
        return overrides
    if mode == RunMode.MULTIRUN:
        # Of a sweep there is no single config to check; the launcher checks every job's.
        if cfg.resume is not None or any(text.lstrip("+").startswith("resume=") for text in overrides):
            raise ConfigError(["resume takes up one run; a sweep goes on by being called again"])
    elif cfg.resume is not None:
        # Quoted: folders of sweeps have commas and equals signs in their names.
        return [*overrides, f"hydra.run.dir='{_resumable(cfg.resume, overrides)}'"]
    else:
        check.check(cfg, loader)
        places.check_writable(Path(cfg.hydra.run.dir))
        if (folder := Path(cfg.hydra.run.dir)).joinpath("record.json").exists():
            raise ConfigError([f"hydra.run.dir holds a run already: {folder}; choose another, or resume it"])
    return overrides


def _check_files(root: Path, name: str, overrides: Sequence[str], loader: ConfigLoader) -> None:
    """See that a folder's files can be composed, and that no config is sought in a Python package, which Hydra imports."""
    parsed = {text: configs.parse_override(text, loader) for text in overrides}
    given = [text for text, each in parsed.items() if each.key_or_group.startswith("hydra.searchpath")]
    groups = [each for each in parsed.values() if loader.get_group_options(each.key_or_group)]
    chosen = [root / each.key_or_group / f"{choice}.yaml" for each in groups for choice in configs.choices(each)]
    waiting: list[tuple[Path, ...]] = [(path,) for path in (root / f"{name.removesuffix('.yaml')}.yaml", *chosen)]
    while waiting:
        path, *includers = waiting.pop()
        if path in includers:
            raise ConfigError([f"{path} must not include itself; change its defaults, or those of {includers[0]}"])
        if not path.is_file():
            continue
        places.check_yaml(path)
        content = OmegaConf.to_container(OmegaConf.load(path))
        if not isinstance(content, dict):
            raise ConfigError([f"{path} must hold KEY: VALUE, got a {type(content).__name__}"])
        given += [str(each) for each in OmegaConf.select(OmegaConf.create(content), "hydra.searchpath") or ()]
        defaults = content.get("defaults")
        for item in defaults if isinstance(defaults, list) else ():
            # A file of the same folder, or {"override /GROUP@PACKAGE": CHOICE}.
            group, choice = next(iter(item.items())) if isinstance(item, dict) and item else ("", item)
            place = f"{str(group).split()[-1].split('@')[0]}/{choice}.yaml" if group else f"{choice}.yaml"
            folder = root if place.startswith("/") else path.parent
            waiting.append((folder / place.lstrip("/"), path, *includers))
    if wrong := [text for text in given if "pkg:" in text or "${" in text]:
        raise ConfigError([f"hydra.searchpath must hold folders, got {text}; use --config-dir FOLDER" for text in wrong])


def _resumable(folder: Any, overrides: Sequence[str]) -> Path:
    """Return a run's folder that can be resumed: it brings its own config, so nothing else may be set."""
    folder = Path(str(folder))
    if not records.has_checkpoint(folder) or not (folder / "config.yaml").is_file():
        raise ConfigError([f"resume must be a run's folder with {records.CHECKPOINTS[0]} in it, got {str(folder)!r}"])
    if locks.is_held(folder):
        raise ConfigError([f"resume={folder}: another process is at work there; wait for its end"])
    if len(overrides) > 1:
        raise ConfigError([f"resume takes up the run's own config; drop all but resume={folder}"])
    places.check_yaml(folder / "config.yaml")
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    record = records.left_in(folder)
    if record is None:
        wrong = "nothing tells by which code that run was made; start it anew"
    elif record.get("status") == "done":
        wrong = "that run is done; start another to train longer"
    elif wrong := records.unlike_its_record(folder / "curves.csv", record):
        wrong = f"{wrong}; restore it, or start the run anew"
    elif record["identity"] != identity.identity(config, configs.code(config).version):
        wrong = "the code or its config.yaml has changed since; start the run anew"
    if wrong:
        raise ConfigError([f"resume={folder}: {wrong}"])
    return folder


def _further(overrides: Sequence[str]) -> str:
    """Return the part of --help that Hydra does not know of: what the chosen constructors take that no file states.

    Raises:
        ConfigError: choices that cannot be composed.
    """
    single = [text for text in overrides if not configs.parse_override(text).is_sweep_override()]
    config = configs.compose_job(configs.composed(single)[0])
    indents = {"initial_indent": "  ", "subsequent_indent": "      "}
    return "\n".join(
        [
            "Settings that no file states, of the choices above, with their defaults; KEY=VALUE sets them too:",
            *(textwrap.fill(line, 120, **indents, break_on_hyphens=False) for line in _unstated(config)),
            "What they mean: python -m pydoc superpositional.optim.optimizer.SuperpositionalAdamW",
            "Those of other choices: superpositional train --help optimizer=circuit net/attention=quantum",
            "",
        ]
    )


def _unstated(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for each node of ours or of torch.optim: the constructor's arguments that no file states, with defaults."""
    for path, node in configs.nodes(dict(config)):
        repeated = path != "circuit" and node == config.get("circuit")
        if repeated or not configs.inside(str(node.get("_target_")), ("superpositional", "torch.optim")):
            continue
        with contextlib.suppress(ConfigError):  # for a run to refuse
            target = configs.locate(node["_target_"], path)
            free = [
                f"{each.name}={getattr(each.default, '__name__', repr(each.default))}"
                for each in inspect.signature(target).parameters.values()
                if each.default is not each.empty and each.name not in (*node, *supplied(path, config))
            ]
            if free:
                yield f"{path} ({target.__name__}): {', '.join(free)}"
