"""How surely a diagnosis names the operator: planted faults at the depths of networks, and healthy runtimes.

Run: python tests/benchmarks/located.py [--every N] [--families LIST] [--backends LIST] [--page docs/located.md]; half
an hour on two cores. A fault sits in the graph that the backend gets, never in the comparison. It counts where the
float64 golden with the same fault moves that operator's output by more than 6 of its sigma; the others are without
effect and counted apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.draft import Network
from calibration.measure import LIMITS, LastingCrew, write
from calibration.sets import networks
from diagnose.planted import FAULTS
from section import Figure, Section, table

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.errors import ConformError
from sysnoise_conform.golden.executor import Executor, Mode, Value
from sysnoise_conform.judge.departure import unit_of
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.runner.provenance import processor, usable_cores, versions
from sysnoise_conform.variant import parse_variants

BACKENDS = ("ort", "openvino", "mnn")
FAMILIES = ("residual_cnn", "unet", "mobile", "detector", "encoder", "dense_cnn")
EFFECT = 6.0  # sigma
EVERY = 6
SHOWN_VERSIONS = ("onnxruntime", "openvino", "MNN", "torch", "onnx", "numpy")

TEXT = """
Faults as deployments bring them (`tests/diagnose/planted.py`): weights of one layer x 1.002, one channel + 0.005, the
last column lost, one pixel + 10 %, the output rounded to bfloat16, Resize by another rule. Each sits at every {every}th
tensor that it fits, beginning elsewhere for each kind, of one network of each of the families {families}, out of the
calibration's last set. **Located**: the operator with the fault is the one culprit, and nobody else is named. A fault
that moves its operator's output by less than {effect:g} sigma, told by float64, is without effect. The healthy
networks are all of that set.
"""


@dataclass(slots=True)
class Tried:
    """Of one backend: faults that count, located, with an innocent named, missed; without effect; not shown."""

    counted: int = 0
    located: int = 0
    without_effect: int = 0
    unobservable: int = 0
    said: list[str] = field(default_factory=list)


def exact_tensors(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of the main graph in float64."""
    found: dict[str, np.ndarray] = {}

    def listen(_: object, __: object, name: str, value: Value) -> None:
        if value.data.dtype.is_floating_point:
            found[name] = value.data.numpy()

    Executor(model, Mode.FLOAT64).run(feeds, listen=listen)
    return found


def diagnosed(network: Network, backend: str, crew: LastingCrew, faulty: onnx.ModelProto | None = None) -> Diagnosis:
    """One diagnosis, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="located-") as name:
        folder = Path(name)
        model = write(network, folder)
        deployed = None
        if faulty is not None:
            deployed = Deployed(path=folder / "faulty.onnx")
            onnx.save(faulty, deployed.path)
        case = Case(
            model=model, inputs=folder / "inputs", variants=parse_variants(backend), deployed=deployed, limits=LIMITS
        )
        return diagnose(case, folder / "out", crew=crew, watch=lambda *_: None, policy=Policy())


def planted(network: Network, every: int) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """(fault, tensor, the graph with it)."""
    known = exact_tensors(network.model, network.feeds[0])
    for at, (kind, fault) in enumerate(FAULTS.items()):
        fit = [
            (name, array.shape) for name, array in known.items()
            if array.ndim >= 2 and min(array.shape[-2:]) > 1 and fault(network.model, name, array.shape) is not None
        ]  # fmt: skip
        for name, shape in fit[at % every :: every] or fit[:1]:
            faulty = fault(network.model, name, shape)
            assert faulty is not None
            yield kind, name, faulty


def moved(healthy: TensorDiff, sound: np.ndarray, faulty: np.ndarray) -> float:
    """By how many sigma the fault moves the operator's output, the worst element's fifteenth counted too."""
    unit = unit_of(healthy)
    error = np.abs(faulty - sound)
    return float(max(np.sqrt(np.mean(error**2)), error.max() / 15) / unit) if unit else np.inf


def try_one(network: Network, backend: str, crew: LastingCrew, every: int, row: Tried) -> None:
    """All faults of one network on one backend."""
    healthy = {each.output: each for each in diagnosed(network, backend, crew).layers}
    sound = exact_tensors(network.model, network.feeds[0])
    for kind, tensor, faulty in planted(network, every):
        own = healthy[tensor].replayed or healthy[tensor].island
        if own is None:
            row.unobservable += 1
            continue
        if moved(own, sound[tensor], exact_tensors(faulty, network.feeds[0])[tensor]) <= EFFECT:
            row.without_effect += 1
            continue
        row.counted += 1
        found = [each.layer.output for each in diagnosed(network, backend, crew, faulty).culprits]
        if found == [tensor]:
            row.located += 1
        else:
            row.said.append(f"{backend}, {network.name}, {kind} at {tensor}: named {found or 'nobody'}")


def chosen(names: Sequence[str]) -> list[Network]:
    """The first network of each of these families in the last set."""
    found: dict[str, Network] = {}
    for each in networks("held-out", samples=2):
        if each.family in names:
            found.setdefault(each.family, each)
    return list(found.values())


def measure(every: int, families: Sequence[str], backends: Sequence[str]) -> Section:
    """Plant, diagnose, count."""
    os.environ.setdefault("CONFORM_CACHE", tempfile.mkdtemp(prefix="located-cache-"))
    rows: dict[str, Tried] = defaultdict(Tried)
    pairs, alarms, refused = 0, [], 0
    with LastingCrew() as crew:
        for network in chosen(families):
            for backend in backends:
                try_one(network, backend, crew, every, rows[backend])
                sys.stderr.write(f"{network.name} {backend}: {rows[backend].located} of {rows[backend].counted}\n")
        for network in networks("held-out", samples=2):
            for backend in backends:
                try:
                    found = diagnosed(network, backend, crew)
                except ConformError:
                    refused += 1
                    continue
                pairs += 1
                if found.culprits:
                    alarms.append(f"{backend}, {network.name}: {found.sentence}")
    counted, located = (sum(getattr(each, name) for each in rows.values()) for name in ("counted", "located"))
    said = [*(line for row in rows.values() for line in row.said), *alarms]
    lines = [
        (f"`{name}`", str(row.counted), str(row.located), str(row.without_effect), str(row.unobservable))
        for name, row in rows.items()
    ]
    return Section(
        title="Planted faults located",
        figures=(
            Figure(what=f"of {counted} planted faults missed", value=float(counted - located), unit="", target=0.0),
            Figure(what=f"of {pairs} healthy runs with a culprit", value=float(len(alarms)), unit="", target=0.0),
        ),
        text=TEXT.format(every=every, families=", ".join(families), effect=EFFECT)
        + "\n"
        + table(("backend", "faults that count", "located", "without effect", "not shown"), lines)
        + f"\n\nHealthy: {pairs} pairs of network and backend, {refused} refused by the runtime, "
        + f"{len(alarms)} with a culprit.\n"
        + "".join(f"\n- {line}" for line in said),
    )


def page(found: Section) -> str:
    """The section as a page of its own."""
    name, flags = processor()
    known = versions()
    installed = ", ".join(f"{each} {known[each]}" for each in SHOWN_VERSIONS if each in known)
    head = "Written by `python tests/benchmarks/located.py --page docs/located.md`; do not edit it by hand."
    where = f"- processor: {name}, {usable_cores()} cores; {', '.join(flags)}\n- versions: {installed}"
    return f"# How surely the operator is named\n\n{head}\n\n{where}\n\n{found.markdown()}\n"


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--page", type=Path, help="write a page in place of printing")
    given = parser.parse_args()
    found = measure(given.every, given.families.split(","), given.backends.split(","))
    if given.page is None:
        sys.stdout.write(found.markdown() + "\n")
    else:
        given.page.write_text(page(found))


if __name__ == "__main__":
    main()
