"""Read and check claims: data, written down before the runs that are to judge them.

A claim has a metric, two arms, which way is better, the published value, and a margin, the smallest effect that matters.
``conf/claims/*.yaml`` has the paper's (Pamuk et al. 2025, C1 to C6) and ``every_arm``, which asks of any sweep whether its
arms differ from the baseline. A sweep names one with ``override claims: NAME``, or brings its own. A sweep's plan keeps its
claims, every run records their ``digest``, and ``evidence.verdicts`` judges them.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from superpositional.format import did_you_mean
from superpositional.places import UserError, directory
from superpositional.records import Sweep

EVERY_ARM = "*"
DEFAULT = "every_arm"
# Of a run's summary, and one that its status gives.
DIVERGED = "diverged"
TO_TARGET = "_to_target"
TIMES = tuple(f"convergence/{unit}{TO_TARGET}" for unit in ("epochs", "steps", "seconds"))
VERDICTS = ("superior", "inferior", "equivalent")
# The fields that a claim must have; the others have the defaults of ``Claim``.
NEEDED = ("says", "metric", "arm", "better", "margin")


class ClaimError(UserError):
    """Claims that cannot be judged as they are written, a line for each mistake."""


class _Loader(yaml.SafeLoader):
    """YAML as OmegaConf reads it, for a file of claims may come either way: 5e-3 is a number, a date a text, and a key that
    stands twice is a mistake."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for index, key in enumerate(keys) if key in keys[:index]]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice; remove one", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Claim:
    """One claim about two arms.

    Attributes:
        id: ``C1``; of a claim about every arm, ``id:arm``.
        says: the claim in a sentence.
        metric: a value of the runs' summaries; ``"diverged"`` is 1 for a run that diverged and 0 for one that is done.
            Metrics that end in ``_to_target`` are times to a target: a run that never reached it is censored at the end of
            training, and the means are restricted means. Metrics with ``seconds`` in their name are judged only from runs
            that were made one at a time, arms interleaved.
        arm, baseline: what is compared. ``arm="*"`` stands for every arm but its baseline; without a baseline it is the
            sweep's own one of that arm.
        better: ``"higher"`` or ``"lower"``, which way is good.
        margin: the smallest effect that matters, in the unit of the effect.
        margin_reason: why so much.
        compare: ``"difference"`` of paired means, or ``"ratio"``, 100 (arm / baseline - 1) in percent.
        scale, unit: by what a difference is multiplied for readers, and what it is then measured in. A ratio is in %.
        published: the effect as published, in the same unit; None where there is no number.
        claimed: the verdict the claim amounts to, ``"superior"``, ``"inferior"`` or ``"equivalent"``; None asks only.
        family: the tests that share one error rate (Holm); by default all of a file.
        source: where it is claimed.
        controls: arms without the quantum part, to see how much of a gain stays with them.
    """

    id: str
    says: str
    metric: str
    arm: str
    better: str
    margin: float
    baseline: str | None = None
    margin_reason: str = ""
    compare: str = "difference"
    scale: float = 1.0
    unit: str = ""
    published: float | None = None
    claimed: str | None = None
    family: str = "one"
    source: str = ""
    controls: tuple[str, ...] = ()

    @property
    def to_target(self) -> bool:
        return self.metric.endswith(TO_TARGET)

    @property
    def of_time(self) -> bool:
        return bool(re.search("second|time/|wall", self.metric))

    @property
    def effect_unit(self) -> str:
        return "%" if self.compare == "ratio" else self.unit


def find(name: str | Path) -> dict[str, Any]:
    """The declared claims of ``conf/claims/NAME.yaml``, or of a file of one's own, as plain values.

    Raises:
        ClaimError: there is no such file, or it holds no claims.
    """
    path = Path(name)
    if path.suffix != ".yaml":
        path = directory("conf") / "claims" / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in (directory("conf") / "claims").glob("*.yaml")))
        raise ClaimError(f"claims must be one of {names}, or the path of a .yaml file, got {str(name)!r}")
    try:
        declared = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClaimError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(declared, dict):
        raise ClaimError(f"{path} must map each claim's id to its settings, got {type(declared).__name__}")
    return declared


def of(sweep: Sweep, named: str | Path | None = None) -> tuple[dict[str, Any], list[Claim]]:
    """The claims to judge a sweep by, as declared and read: those named, or those kept with it.

    A sweep of before claims were kept has those of ``conf/claims`` that bear its name, or ``every_arm``.

    Raises:
        ClaimError: they cannot be read, or speak of arms that are not there.
    """
    declared = sweep.claims if named is None else find(named)
    if declared is None:
        own = directory("conf") / "claims" / f"{sweep.name}.yaml"
        declared = find(sweep.name if own.is_file() else DEFAULT)
    asked = read(declared, sweep.arms, sweep.baselines)
    return dict(declared), asked


def digest(declared: Mapping[str, Any] | None) -> str | None:
    """Of what was declared; two files that say the same have the same."""
    if declared is None:
        return None
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:16]


def read(declared: Any, arms: Sequence[str] | None = None, baselines: Mapping[str, str] | None = None) -> list[Claim]:
    """Check declared claims and make them ``Claim``s; those about every arm become one for each.

    Args:
        declared: claims by id, as ``find`` or a config has them; None is none.
        arms: of the sweep, the first its baseline; None leaves them unchecked and "*" as it is.
        baselines: of arms that are held to another than the first.

    Raises:
        ClaimError: every mistake, a line each, with the value and the cure.
    """
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        raise ClaimError(f"claims must map each claim's id to its settings, got {declared!r}")
    mistakes, found = [], []
    for name, given in declared.items():
        wrong = list(_mistakes(name, given))
        mistakes += wrong
        if not wrong:
            settings = {key: value for key, value in given.items() if value is not None}
            settings["controls"] = tuple(settings.get("controls", ()))
            claim = Claim(id=name, **settings)
            for each in [claim] if arms is None else _cells(claim, arms):
                if arms is not None:
                    mistakes += _arms_not_there(each, arms, baselines or {})
                found += [each] if arms is None else _spread(each, arms, baselines or {})
    if mistakes:
        raise ClaimError("\n".join(mistakes))
    return found


def _cells(claim: Claim, arms: Sequence[str]) -> list[Claim]:
    """A claim about arms of a sweep whose arms stand at several swept values, ``adam,data.length=12``: one at each."""
    if claim.arm in (*arms, EVERY_ARM):
        return [claim]
    cells = [arm.removeprefix(claim.arm) for arm in arms if arm.startswith(f"{claim.arm},")]
    return [
        replace(
            claim,
            id=claim.id + cell,
            arm=claim.arm + cell,
            baseline=claim.baseline and claim.baseline + cell,
            controls=tuple(control + cell for control in claim.controls),
        )
        for cell in cells
    ] or [claim]


def _spread(claim: Claim, arms: Sequence[str], baselines: Mapping[str, str]) -> list[Claim]:
    """The claims that one about every arm stands for in a sweep with these arms."""
    each = [claim.arm] if claim.arm != EVERY_ARM else list(arms)
    held = [(arm, claim.baseline or baselines.get(arm, arms[0])) for arm in each]
    return [
        replace(claim, id=claim.id if claim.arm != EVERY_ARM else f"{claim.id}:{arm}", arm=arm, baseline=to)
        for arm, to in held
        if arm != to
    ]


def _arms_not_there(claim: Claim, arms: Sequence[str], baselines: Mapping[str, str]) -> Iterable[str]:
    for role, names in (("arm", [claim.arm]), ("baseline", [claim.baseline]), ("controls", claim.controls)):
        for name in names:
            if name not in (None, *arms) and (role, name) != ("arm", EVERY_ARM):
                yield f"claims.{claim.id}.{role} must be an arm of the sweep, {', '.join(arms)}; got {name!r}"
    if claim.arm == (claim.baseline or baselines.get(claim.arm, arms[0])):
        yield f"claims.{claim.id}.arm must be another arm than its baseline, got {claim.arm!r} for both"


def _mistakes(name: Any, given: Any) -> Iterable[str]:
    """What is wrong with one claim's settings."""
    where = f"claims.{name}"
    if not isinstance(name, str):
        yield f"{where} must have a text as its id, got {name!r}; put it in quotes"
    if not isinstance(given, Mapping):
        yield f"{where} must hold settings ({', '.join(NEEDED)}), got {given!r}"
        return
    known = [field.name for field in fields(Claim) if field.name != "id"]
    for key in given:
        if key not in known:
            yield f"{where}.{key} is not a setting of a claim; {did_you_mean(key, known)}"
    for key in NEEDED:
        if given.get(key) is None:
            yield f"{where} lacks {key}; a claim needs {', '.join(NEEDED)}"
    for key in ("says", "metric", "arm", "baseline", "margin_reason", "unit", "family", "source"):
        if given.get(key) is not None and not isinstance(given[key], str):
            yield f"{where}.{key} must be a text, got {given[key]!r}"
    metric = given.get("metric")
    if isinstance(metric, str) and metric.endswith(TO_TARGET) and metric not in TIMES:
        yield f"{where}.metric must be one of {', '.join(TIMES)} for a time to the target, got {metric!r}"
    for key, choices in (("better", ("higher", "lower")), ("compare", ("difference", "ratio")), ("claimed", VERDICTS)):
        if given.get(key) is not None and given[key] not in choices:
            yield f"{where}.{key} must be one of {', '.join(choices)}, got {given[key]!r}"
    for key, least in (("margin", 0.0), ("scale", 0.0), ("published", -math.inf)):
        value = given.get(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (number and value > least):
            finite = "a finite number" if least < 0 else "a finite number > 0"
            yield f"{where}.{key} must be {finite}, got {value!r}"
    controls = given.get("controls")
    if controls is not None and not (
        isinstance(controls, (list, tuple)) and all(isinstance(each, str) for each in controls)
    ):
        yield f"{where}.controls must be a list of arms, got {controls!r}"
    yield from _disagreements(where, given)


def _disagreements(where: str, given: Mapping[str, Any]) -> Iterable[str]:
    published, claimed, better = (given.get(key) for key in ("published", "claimed", "better"))
    if isinstance(published, (int, float)) and claimed in ("superior", "inferior") and better in ("higher", "lower"):
        good = (published > 0) == (better == "higher")
        if published == 0 or good != (claimed == "superior"):
            yield f"{where}.claimed={claimed} does not go with published={published} and better={better}; mend one of them"
    if given.get("compare") == "ratio" and given.get("metric") == DIVERGED:
        yield f"{where}.compare must be difference for {DIVERGED}, got 'ratio': shares are judged by exact tests"
    if given.get("compare") == "ratio" and given.get("unit") not in (None, "%"):
        yield f"{where}.unit must be left out of a ratio, which is in %, got {given['unit']!r}"
