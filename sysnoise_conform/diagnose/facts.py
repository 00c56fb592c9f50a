"""What a diagnosis found, as facts and one verdict; `reports` writes and shows it, and decides nothing.

Every operator has two errors: *introduced* (its output against the float64 operator on the very inputs that it was
given) and *cumulative* (its output against PyTorch's tensor of the same name). Blame follows the first alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sysnoise_conform.outcome import Reading, RuntimeFacts, TensorDiff, Unobservable

if TYPE_CHECKING:  # the command line reads the verdicts' words before it has imported anything
    from sysnoise_conform.diagnose.design import DesignFindings

# Of a single culprit; exactly, over all orders in which several can be taken away; over some of these orders.
ProofMethod = Literal["alone", "shapley", "orders"]

# Who has to mend a culprit: whoever made the deployed file, or the runtime's makers.
Owner = Literal["file", "runtime"]

# `not_integers`: nothing is off, but int8 was asked for and floats were computed.
VerdictWord = Literal["culprits", "accumulated_rounding", "not_integers", "clean", "unobservable"]
VERDICTS: tuple[VerdictWord, ...] = ("culprits", "accumulated_rounding", "not_integers", "clean", "unobservable")


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserverEffect:
    """What watching changed: outputs of the tapped graph against those of the untouched one, the worst of them."""

    rel_l2: float | None
    floor_ratio: float | None
    tapped: int  # tensors that were promoted to outputs
    boundaries: int | None = None  # how many of them, where those that survive fusion were watched alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """An operator's own error, whole and by part, in units of what correct arithmetic may be off there.

    `channel_z` is the worst channel's rms (`channel`: its dimension and index), `border_z` that of the worst of the
    four sides, `interior_z` that of what lies between them; None where the tensor has no such part. `saturated` counts
    elements at the end of their type's range that PyTorch has within it. `part` and `finding` say, as a reading's kind
    and in words, which part is beyond its limit; empty where none is.
    """

    rms_z: float | None = None
    max_z: float | None = None
    channel_z: float | None = None
    channel: tuple[int, int] | None = None
    border_z: float | None = None
    interior_z: float | None = None
    saturated: int = 0
    part: str = ""  # "one_channel", "border"
    finding: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Computing:
    """An arithmetic of fewer bits that the target computes in, though the model's types do not say so.

    `told_by` the runtime itself, or read from how operands are rounded. `operators` are the tensors whose operators it
    explains, in graph order, `types` their kinds; `chosen` says whether the runtime did so by itself.
    """

    name: str  # of compare.arithmetic
    told_by: Literal["runtime", "operands"]
    chosen: bool
    operators: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One output of one operator, and what was found of it.

    `replayed` compares with the float64 operator on the backend's own recorded inputs, `island` with the same on
    PyTorch's tensors, each operator alone in a graph without edges; both in units of what that one operator may be
    off in float32. `in_unit` is the first of them that there is in units of `arithmetic`, where that is another.
    `cumulative` compares with PyTorch's tensor. None where it was not measured. `flags` are in units of `arithmetic`.
    `block` holds the nodes between the nearest recorded tensors and this one, where fusion hides what lies between;
    the node itself is always the last.
    """

    index: int
    node: str
    op_type: str
    output: str
    attributes: str = ""  # "kernel_shape=[3, 3], ceil_mode=1", of the graph that the backend gets where it has them
    block: tuple[str, ...] = ()
    replayed: TensorDiff | None = None
    island: TensorDiff | None = None
    cumulative: TensorDiff | None = None
    not_runnable: str = ""  # why the backend does not run it alone
    arithmetic: str = "float32"  # that it computes in, as far as its error tells
    in_unit: TensorDiff | None = None
    flags: Flags | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The output's error with the culprits as they are, and with PyTorch's answer in their place."""

    output: str
    before_rel_l2: float
    after_rel_l2: float
    swapped: tuple[str, ...]  # tensors that PyTorch's answer was fed for
    method: ProofMethod = "alone"  # how the shares were found


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimiser:
    """What a runtime's optimiser has to do with a culprit that is right without it."""

    level: str  # the least that brings it, as an option: "opt=extended"
    passes: tuple[str, ...] = ()  # without these it is right; none where the runtime takes none out, or it stays


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A case of the probe's corpus that this target got wrong before, and of whose kind an operator is."""

    case: str  # its name, for `conform probe --only`
    about: str  # the attributes that make it
    deviates: str  # by how much, in words
    when: str = ""  # the data that it takes besides


@dataclass(frozen=True, kw_only=True, slots=True)
class Culprit:
    """An operator (or block) whose introduced error no correct arithmetic explains."""

    layer: Layer
    method: Literal["replay", "explode", "cut"]
    diff: TensorDiff  # the introduced error by that method
    kind: str  # of `readings[0]`, or `unknown`
    readings: tuple[Reading, ...] = ()
    words: str = ""  # one sentence
    cumulative_before: float | None = None  # rel_l2 of the worst tensor it reads
    # Its part of the final output's squared error, measured by `--prove`; below 0 where it makes up for others' errors.
    share: float | None = None
    proof: Proof | None = None
    optimiser: Optimiser | None = None
    reproducer: str = ""  # its folder, relative to that of the diagnosis
    no_reproducer: str = ""  # why there is none
    withheld: bool = False  # for no other reason than that so many folders were asked for, and others are further off
    known: tuple[Known, ...] = ()
    owner: Owner | None = "runtime"  # None: of a deployed file that its runtime alone can read


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployedFile:
    """The file that the backend got in the model's place: its name without a folder, and the sum of its bytes."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A layer whose rounding, legitimate in itself, contributes to the output's error."""

    node: str
    op_type: str
    output: str
    introduced_rel_l2: float
    gain: float | None  # how much of a relative error here arrives at the output
    without: float | None  # the output's rel_l2 with this and all layers above it computed in full; not tried for all


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """One variant, diagnosed."""

    variant: str
    model: str
    runtime: RuntimeFacts
    verdict: VerdictWord
    sentence: str
    observer_effect: ObserverEffect
    computing: Computing | None = None
    outputs: tuple[TensorDiff, ...]  # of the untouched graph
    layers: tuple[Layer, ...]  # in graph order
    culprits: tuple[Culprit, ...] = ()  # in graph order
    ranking: tuple[Ranked, ...] = ()
    unobservable: tuple[Unobservable, ...] = ()
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    golden: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage, and `total`
    deployed: DeployedFile | None = None
    design: DesignFindings | None = None  # of a converted graph: what the conversion costs
    command: str = ""  # as it was given
    conversion: Mapping[str, Any] | None = None  # how a converted graph came about, as in a header

    @property
    def withheld(self) -> int:
        """How many culprits have no reproducer only because so many were to be written."""
        return sum(each.withheld for each in self.culprits)

    @property
    def coverage(self) -> float:
        """The share of layers whose introduced error is known, 0..1."""
        known = sum(each.replayed is not None or each.island is not None for each in self.layers)
        return known / len(self.layers) if self.layers else 0.0
