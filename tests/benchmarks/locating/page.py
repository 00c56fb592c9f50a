"""Cells as a section and as a page of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from locating.cells import COUNTED, HEALTHY, Cell, Key
from locating.planting import EFFECT, UNDONE
from section import Figure, Section, table

from sysnoise_conform.runner.provenance import processor, usable_cores, versions

SHOWN_VERSIONS = ("onnxruntime", "openvino", "MNN", "ai-edge-litert", "onnx2tf", "torch", "onnx", "numpy")
MOST_SAID = 60

TEXT = """
Faults as deployments bring them (`tests/diagnose/planted.py`): weights of one layer x 1.002, one channel + 0.005, the
last column lost, one pixel + 10 %, the output rounded to bfloat16, Resize by another rule, a pool by the other rule of
`ceil_mode`, a NaN swallowed. Each sits in the graph that the backend gets, never in the comparison; the golden is that
of the healthy graph. Each fault is planted at every {every}th tensor that it fits, beginning elsewhere for each kind;
on TFLite, where every graph is converted anew, every second fault at one depth, other ones in each network.

**Located**: the operator with the fault is the one culprit, and nobody else is named but what the runtime gets wrong in
the same graph without the fault, or alone with that graph's tensors (OpenVINO's Relu hides the NaN that `nan_swallowed`
needs). Where the runtime shows no tensor of its own for the operator, the block between the nearest shown tensors
counts, in a column of its own. A fault that moves its operator's output by less than {effect:g} sigma, told by float64,
is without effect. So is one that does not come about where it runs, because the runtime gets wrong what the fault is
made of (a NaN that never arrives); that is told by diagnoses of the graph without the fault and of the faulty graph
itself, and these places are listed. *Refused* are graphs that do not run with the fault: sizes that do not fit any
more.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What was to be done, and what could not be."""

    every: int
    planned: Sequence[Key]
    healthy: Sequence[Key]
    absent: Mapping[str, str]  # a network that is not here -> why
    operators: Mapping[str, int]  # of each network


def section(cells: Mapping[Key, Cell], asked: Asked) -> Section:
    """Counts by backend, by fault and by network; every miss and every false alarm in words."""
    planted = [cells[key] for key in asked.planned if key in cells]
    sound = [cells[key] for key in asked.healthy if key in cells and cells[key].outcome != "refused"]
    counted = [each for each in planted if each.outcome in COUNTED]
    missed = [each for each in counted if each.outcome == "missed"]
    alarms = [each for each in sound if each.outcome == "alarm"]
    undone = [each for each in planted if each.outcome == "without_effect" and each.said.startswith(UNDONE)]
    missing = len(asked.planned) - len(planted)
    parts = [
        TEXT.format(every=asked.every, effect=EFFECT).strip(),
        _table("backend", "`{}`".format, planted, lambda each: each.backend),
        _table("fault", "`{}`".format, planted, lambda each: each.fault),
        _table(
            "network", lambda name: f"{name}, {asked.operators.get(name, 0)} operators", planted,
            lambda each: each.network,
        ),
        f"Healthy: {len(sound)} pairs of network and backend, {len(alarms)} with a culprit.",
        *([f"**{missing:,} of {len(asked.planned):,} places were not tried**: time was up."] if missing else []),
        *(f"Left out: {name}: {why}" for name, why in asked.absent.items()),
        "\n".join(f"- {_where(each)}: {each.said}" for each in [*missed, *alarms, *undone][:MOST_SAID]),
    ]  # fmt: skip
    return Section(
        title="Planted faults located",
        figures=(
            Figure(what=f"of {len(counted):,} planted faults missed", value=float(len(missed)), unit="", target=0.0),
            Figure(what=f"of {len(sound)} healthy runs with a culprit", value=float(len(alarms)), unit="", target=0.0),
        ),
        text="\n\n".join(each for each in parts if each),
    )


def page(found: Section, known: Section) -> str:
    """Planted faults and known deviations as a page of its own."""
    name, flags = processor()
    there = versions()
    installed = ", ".join(f"{each} {there[each]}" for each in SHOWN_VERSIONS if each in there)
    head = "Written by `python tests/benchmarks/located.py --page docs/located.md`; do not edit it by hand."
    where = f"- processor: {name}, {usable_cores()} cores; {', '.join(flags)}\n- versions: {installed}"
    return f"# How surely the operator is named\n\n{head}\n\n{where}\n\n{found.markdown()}\n\n{known.markdown()}\n"


def _table(
    head: str, shown: Callable[[str], str], cells: Iterable[Cell], by: Callable[[Cell], str]
) -> str:
    groups: dict[str, Counter[str]] = {}
    for each in cells:
        groups.setdefault(by(each), Counter())[each.outcome] += 1
    rows = [
        (
            shown(name), str(sum(found[each] for each in COUNTED)), str(found["located"]), str(found["in_its_block"]),
            str(found["missed"]), str(found["without_effect"]), str(found["not_shown"]), str(found["refused"]),
        )
        for name, found in groups.items()
    ]  # fmt: skip
    columns = ("faults that count", "located", "in a block", "missed", "without effect", "not shown", "refused")
    return table((head, *columns), rows)


def _where(cell: Cell) -> str:
    fault = "healthy" if cell.fault == HEALTHY else f"{cell.fault} at {cell.tensor}"
    return f"{cell.backend}, {cell.network}, {fault}"
