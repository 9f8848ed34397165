"""What is left of runs: plain files, the seam between what trains and what judges.

``training`` and ``sweeps`` (torch, Lightning, Hydra) write through this wing, ``evidence`` and ``report`` (NumPy, SciPy,
matplotlib) read through it, and neither imports the other::

    <sweep>/sweep.json                  what was planned: arms (each with the identity its runs share), seeds, question,
                                        and of a search its declaration and every trial's values
    <sweep>/ledger.json                 of a search: what each arm was given and spent
    <sweep>/<arm>/seed-<n>/record.json  status, identity, seeds, versions, summary; written last and atomically
                           curves.csv   every logged scalar: step, metric, value
                           config.yaml  the resolved config
                           run.log, error.txt
                           running.json   while the run goes on, or after it was killed; lock: whose it is
                           checkpoints/last.ckpt
    <sweep>/superseded/<arm>/           what made room: runs of another config or code version, or begun anew

A published sweep is the same content in two files (``published``): ``runs.jsonl``, a JSON line per run with its curves
thinned, and ``sweep.json`` with what the runs of an arm, or all of them, have in common. No torch here: records are read
on any laptop.
"""

from superpositional.records.run import (
    CHECKPOINTS,
    GENERATIONS,
    RUNNING,
    SCHEMA,
    STATUSES,
    SUPERSEDED,
    Run,
    Unreadable,
    append_curves,
    has_checkpoint,
    last_step,
    left_in,
    merged,
    plain,
    read_curves,
    read_json,
    read_record,
    replace_file,
    truncate_curves,
    unlike_its_record,
    vouch,
    write_json,
    write_record,
)
from superpositional.records.sweep import Frames, Sweep, load, load_sweep

__all__ = [
    "CHECKPOINTS",
    "GENERATIONS",
    "RUNNING",
    "SCHEMA",
    "STATUSES",
    "SUPERSEDED",
    "Frames",
    "Run",
    "Sweep",
    "Unreadable",
    "append_curves",
    "has_checkpoint",
    "last_step",
    "left_in",
    "load",
    "load_sweep",
    "merged",
    "plain",
    "read_curves",
    "read_json",
    "read_record",
    "replace_file",
    "truncate_curves",
    "unlike_its_record",
    "vouch",
    "write_json",
    "write_record",
]  # fmt: skip
