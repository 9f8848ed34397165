"""The backends of real processors, by Qiskit's V2 primitives: a sampler or, with mitigation, an estimator.

``Primitive`` takes any; ``IBM`` is Qiskit Runtime (the extra ``ibm``), transpiled to the processor. Its local mode, a
snapshot of one, runs the same code without an account; that is how it is tested.
"""

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends import base
from superpositional.circuits.backends.aer import INSTALL, RUNTIME, Call, JobBackend, bad_snapshot, snapshot
from superpositional.places import ALLOW, trusted

if TYPE_CHECKING:
    from qiskit.providers import BackendV2

# Of Qiskit's own packages every sampler and estimator may be made.
PACKAGES = ("qiskit", "qiskit_aer", RUNTIME)


@dataclass(frozen=True, eq=False)
class Primitive(JobBackend):
    """Whatever offers Qiskit's ``BaseSamplerV2`` or ``BaseEstimatorV2``: one YAML file plugs it in.

    Circuits go to it as they are written, in h, rx, ry, rz and cx; an estimator gets the precision 1 / sqrt(shots).

    Args:
        target_class: as ``qiskit.primitives.StatevectorSampler``. Of other packages than Qiskit's only those that
            SUPERPOSITIONAL_ALLOW names.
        options: what its constructor gets. A device among it is written ``{target_class: qiskit_aer.AerSimulator, options:
            {}}``, a class of ``qiskit.providers.BackendV2`` and what its constructor gets.
        seed_option: the argument of its constructor that takes a seed; None if it takes none, as a real device.
        shots: how often each circuit is measured.
    """

    target_class: str = "qiskit.primitives.StatevectorSampler"
    options: Mapping[str, Any] = field(default_factory=dict)
    shots: int = 1024
    seed_option: str | None = "seed"
    simulated = False  # as far as anybody here knows

    def __post_init__(self) -> None:
        mistakes = self.mistakes()
        if self.seed_option is not None and not isinstance(self.seed_option, str):
            mistakes.append(f"seed_option must be the name of an argument or None, got {self.seed_option!r}")
        options = dict(self.options).values() if not any(mistakes) else ()
        devices = [(each["target_class"], True) for each in options if _is_device(each)]
        for name, device in ((self.target_class, False), *devices):
            try:
                _class(name, device)
            except ValueError as error:
                mistakes.append(str(error))
        base.refuse(mistakes)

    @property
    def takes_seeds(self) -> bool:
        return self.seed_option is not None

    @property
    def estimates(self) -> bool:
        from superpositional.circuits.backends.qiskit import BaseEstimatorV2

        return issubclass(_class(self.target_class), BaseEstimatorV2)

    def job(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        from superpositional.circuits.backends import qiskit

        made = _class(self.target_class)
        seeds = {self.seed_option: qiskit.dice(made, call.seed)} if self.takes_seeds else {}
        options = {
            key: _class(each["target_class"], True)(**each.get("options", {})) if _is_device(each) else each
            for key, each in self.options.items()
        }
        return qiskit.by_primitive(made(**options, **seeds), call)


@dataclass(frozen=True, eq=False)
class IBM(JobBackend):
    """A processor of IBM Quantum.

    The account is the one that ``QiskitRuntimeService.save_account`` has saved, or that the variables QISKIT_IBM_TOKEN and
    QISKIT_IBM_INSTANCE give.

    Args:
        device: its name, as ``ibm_brisbane``; None is the least busy one that is wide enough.
        local: one of qiskit-ibm-runtime's fake devices, as ``FakeManilaV2``, for a real one: no account, no network.
        primitive: ``"sampler"``, counts as they come; ``"estimator"``, which can mitigate errors.
        options: of that primitive, as ``{resilience_level: 1}`` or ``{dynamical_decoupling: {enable: true}}``.
            Standard errors are those that it states; an estimator's, in local mode, are some 30 % below the scatter seen.
        shots: how often each circuit is measured; an estimator gets the precision 1 / sqrt(shots).
        level: Qiskit's ``optimization_level`` of the transpilation, 0 to 3.
    """

    device: str | None = None
    local: str | None = None
    primitive: str = "sampler"
    options: Mapping[str, Any] = field(default_factory=dict)
    shots: int = 1024
    level: int = 1
    backoff: float = field(default=10.0, kw_only=True)

    def __post_init__(self) -> None:
        mistakes = [*self.mistakes(), base.bad_level(self.level)]
        if self.primitive not in ("sampler", "estimator"):
            mistakes.append(f"primitive must be sampler or estimator, got {self.primitive!r}")
        if self.device is not None and self.local is not None:
            mistakes.append(f"device and local exclude each other, got {self.device!r} and {self.local!r}; leave one out")
        if importlib.util.find_spec(RUNTIME) is None:
            mistakes.append(f"backend=ibm needs qiskit-ibm-runtime, which is not installed: {INSTALL}")
        else:
            if not any(mistakes):
                mistakes.append(_bad_options(self.primitive, self.options))
            if self.local is not None:
                mistakes.append(bad_snapshot("local", self.local))
            elif not any(mistakes):
                mistakes.append(_bad_account())
        base.refuse(mistakes)

    @property
    def simulated(self) -> bool:
        return self.local is not None

    takes_seeds = simulated

    @property
    def estimates(self) -> bool:
        return self.primitive == "estimator"

    def target(self, ansatz: Ansatz) -> "BackendV2":
        return _processor(self.device, ansatz.n_qubits) if self.local is None else snapshot(self.local)

    def job(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        # The ones of the package's top are to be replaced by these.
        from qiskit_ibm_runtime.executor_estimator import Estimator
        from qiskit_ibm_runtime.executor_sampler import Sampler

        from superpositional.circuits.backends.qiskit import by_primitive

        device, options = self.target(call.ansatz), dict(self.options)
        if self.takes_seeds:
            # 32 bits, as Aer's, which runs the local mode.
            options["simulator"] = {**options.get("simulator", {}), "seed_simulator": call.seed % 2**32}
        made = (Estimator if self.estimates else Sampler)(mode=device, options=options)
        return by_primitive(made, call, device, self.level)


def _is_device(option: Any) -> bool:
    return isinstance(option, Mapping) and "target_class" in option


@lru_cache(maxsize=8)
def _class(name: str, device: bool = False) -> type:
    """The class of a V2 primitive, or of a device; a ValueError where it is not there or not to be built."""
    from superpositional.circuits.backends import qiskit

    module, _, attribute = str(name).rpartition(".")
    if module.split(".")[0] not in (*PACKAGES, *trusted()):
        raise ValueError(
            f"target_class={name} is outside {', '.join(PACKAGES)}; if you trust it, set {ALLOW}={str(name).split('.')[0]}"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"target_class={name} cannot be imported; is it on PYTHONPATH? {error}") from None
    is_class = isinstance(found, type)
    if device and not (is_class and issubclass(found, qiskit.BackendV2)):
        raise ValueError(f"target_class={name} of an option must be a qiskit.providers.BackendV2, a device")
    if not device and not (is_class and issubclass(found, (qiskit.BaseSamplerV2, qiskit.BaseEstimatorV2))):
        raise ValueError(f"target_class={name} offers neither BaseSamplerV2 nor BaseEstimatorV2 of qiskit.primitives")
    return found


def _bad_options(primitive: str, options: Mapping[str, Any]) -> str | None:
    from qiskit_ibm_runtime.options_models import EstimatorOptions, SamplerOptions

    try:
        (SamplerOptions if primitive == "sampler" else EstimatorOptions)(**options)
    except (ValueError, TypeError) as error:
        told = " ".join(line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line)
        return f"options must be those of IBM's {primitive}, got {dict(options)!r}: {told}"
    return None


def _bad_account() -> str | None:
    """What is missing to reach a real processor; nothing is asked of the network."""
    from qiskit_ibm_runtime import QiskitRuntimeService

    if os.environ.get("QISKIT_IBM_TOKEN") or QiskitRuntimeService.saved_accounts():
        return None
    return (
        "backend=ibm finds no account: save one by qiskit_ibm_runtime.QiskitRuntimeService.save_account(token=...), or set "
        "QISKIT_IBM_TOKEN; without one, backend.local=FakeManilaV2 runs the same code here"
    )


@lru_cache(maxsize=8)
def _processor(name: str | None, n_qubits: int) -> "BackendV2":
    from qiskit_ibm_runtime import QiskitRuntimeService

    service = QiskitRuntimeService()
    return service.backend(name) if name else service.least_busy(min_num_qubits=n_qubits, operational=True, simulator=False)
