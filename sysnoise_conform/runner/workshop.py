"""What all cells of a run share, and the graphs that their sessions get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sysnoise_conform.graph.intake import Model, write_proto
from sysnoise_conform.graph.tap import tap
from sysnoise_conform.inputs import Samples
from sysnoise_conform.outcome import RuntimeFacts
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.runner.design import Design
from sysnoise_conform.runner.goldens import Goldens
from sysnoise_conform.runner.plan import Plan
from sysnoise_conform.runner.tally import Tally
from sysnoise_conform.tasks import Meter

Watch = Callable[[str, str, int, int], None]  # variant, what it does, done, of
# What is known of a target before it runs a graph: the graph, the variant, the runtime -> a line each.
Remark = Callable[[Model, str, RuntimeFacts], tuple[str, ...]]


def nothing_known(model: Model, variant: str, runtime: RuntimeFacts) -> tuple[str, ...]:
    """Of no target anything is known."""
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """What all passes of a run share."""

    model: Model
    samples: Samples
    goldens: Goldens
    plan: Plan
    crew: Crew
    logs: Path
    threads: int
    meter: Callable[[], Meter | None]
    watch: Watch
    asked: Event  # set when the first child has its work, or is beyond it
    compiled: Event  # set when the first child has compiled, or is beyond it
    design: Design | None = None  # of a converted graph, which `model` is then
    remark: Remark = nothing_known

    def tally(self) -> Tally:
        """An empty tally that knows which operator makes which tensor."""
        return Tally(ops={each.tensor: each.op_type for each in self.model.layers})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The golden names of the graph's outputs."""
        return tuple(port.name for port in self.model.outputs)

    def graph(self, folder: Path, taps: Sequence[str] = ()) -> Path:
        """A copy of the graph under test in `folder`, with `taps` (golden names) promoted to outputs."""
        target = self.plan.target
        if target.model is None:
            return target.copy_to(folder)
        if not taps:
            return target.model.write(folder)
        proto = tap(target.model.proto, [target.name(each) for each in taps])
        return write_proto(proto, folder, "tapped.onnx", target.model.data_files)
