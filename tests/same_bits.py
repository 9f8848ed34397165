"""Show that this code repeats published runs bit for bit, and keep the proof in ``same_bits.json``.

For each published sweep one run of each code version that its arms have is trained twice on this machine, by an older
checkout whose code made it and by this one, and every number that they log is compared. A published digest would do where
the processor is the one that the study was made on; here only the code differs. Where all runs of a code version are the
same, it has from then on the older one's identities (``identity.identity``), so published and older runs stay valid.

    git worktree add ../old COMMIT
    .venv/bin/python tests/same_bits.py ../old [--gsm8k FOLDER] [--keep FOLDER] [--jobs N] [SWEEP[/ARM] ...]

About half an hour on two cores, most of it for one run of paper_gsm8k.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from superpositional import records
from superpositional.records import identity, published
from superpositional.sweeps import rerun
from superpositional.training import config as configs

ROOT = Path(__file__).resolve().parents[1]
DOOR = "from superpositional.cli import main; main()"


def chosen(sweep: records.Sweep, arm: str) -> list[records.Run]:
    """Of each code version that the arms have a run of the arm that is the farthest from plain Adam: with the quantum term,
    and the most classes; of one arm alone if it is named."""

    def distance(run: records.Run) -> tuple[bool, int]:
        config = run.record["config"]
        return "quantum_weight" in config["optimizer"], sum("_target_" in node for _, node in configs.nodes(config))

    runs = {run.arm: run for run in sweep.runs if not arm or run.arm == arm}
    of_versions: dict[str, list[records.Run]] = {}
    for run in reversed(runs.values()):
        of_versions.setdefault(configs.code(run.record["config"]).version, []).append(run)
    return [max(each, key=distance) for each in of_versions.values()]


def trained(source: Path, run: records.Run, out: Path, overrides: list[str]) -> records.Run:
    """The run again, by the code in ``source``; one that is there already is taken."""
    if not (out / "record.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        folder = ROOT / "outputs" / "published" / run.sweep
        command = [sys.executable, "-c", DOOR, "rerun", str(folder), run.arm, str(run.seed), *overrides, "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or not (out / "record.json").exists():
            raise RuntimeError(f"{source}: {' '.join(command)}\n{done.stdout}{done.stderr}")
    record = json.loads((out / "record.json").read_text())
    return records.Run(run.sweep, run.arm, run.seed, record["status"], record, records.read_curves(out / "curves.csv"))


def compared(old: Path, keep: Path, run: records.Run, overrides: list[str]) -> dict[str, Any]:
    """What the two runs say, and whether it is the same."""
    before = trained(old, run, keep / run.sweep / run.arm / f"seed-{run.seed}", overrides)
    with tempfile.TemporaryDirectory() as folder:
        after = trained(ROOT, run, Path(folder, "new"), overrides)
    same = rerun.Rerun(before, after, ()).same
    found = {"sweep": run.sweep, "arm": run.arm, "seed": run.seed, "digest": published.digest(after)}
    print(f"{run.sweep} {run.arm} {run.seed}: {'same' if same else 'NOT THE SAME'}", flush=True)
    if before.record["processor"] != after.record["processor"]:
        raise RuntimeError("the two runs had different processors")
    return found | {
        "same": same,
        "repeats": before.record["code"],
        "code": after.record["code"],
        "processor": after.record["processor"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the older code")
    parser.add_argument("sweeps", nargs="*", help="published sweeps, or SWEEP/ARM (default: all)")
    parser.add_argument("--gsm8k", type=Path, help="GSM8K's folder, for paper_gsm8k")
    kept = ROOT / "outputs" / "same_bits"
    parser.add_argument("--keep", type=Path, default=kept, help="where the older code's runs stay (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_intermixed_args()
    folders = sorted(path.parent for path in (ROOT / "outputs" / "published").glob("*/runs.jsonl"))
    asked = []
    arms = dict(name.partition("/")[::2] for name in options.sweeps or [folder.name for folder in folders])
    for folder in folders:
        for run in chosen(records.load_sweep(folder), arms[folder.name]) if folder.name in arms else ():
            fine_tuned = "path" in run.record["config"]["data"]
            asked.append((run, [f"data.path={options.gsm8k.resolve()}"] if fine_tuned else []))
    asked.sort(key=lambda each: not each[1])  # the long one first
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda each: compared(options.old.resolve(), options.keep.resolve(), *each), asked))
    proofs: dict[str, Any] = json.loads(identity.SAME_BITS.read_text())
    for code in sorted({each["code"] for each in found}):
        own = [each for each in found if each["code"] == code]
        repeats = {each["repeats"] for each in own}
        if not all(each["same"] for each in own) or len(repeats) != 1:
            sys.exit(f"code version {code} does not repeat {', '.join(repeats)}; nothing was kept")
        (root,) = repeats
        # What the older one repeats itself, this one repeats too.
        root = proofs.get(root, {}).get("repeats", root)
        kept = [{key: each[key] for key in ("sweep", "arm", "seed", "digest")} for each in own]
        proofs[code] = {"repeats": root, "processor": own[0]["processor"], "runs": kept}
    records.write_json(identity.SAME_BITS, proofs)


if __name__ == "__main__":
    main()
