"""What a diagnosis has seen of one variant, while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from sysnoise_conform.backend import Tensors
from sysnoise_conform.diagnose.blocks import Blocks, Granularity, blocks_of
from sysnoise_conform.diagnose.flags import PartTally
from sysnoise_conform.diagnose.margin import Margins
from sysnoise_conform.errors import Unsupported
from sysnoise_conform.outcome import RuntimeFacts, TensorDiff
from sysnoise_conform.runner.tally import Tally
from sysnoise_conform.runner.workshop import Workshop


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What one tapped graph showed of the first sample; `own` is what it was tapped for, the rest what that reads."""

    tensors: Tensors
    own: frozenset[str]


@dataclass(slots=True)
class Seen:
    """Everything that was measured of one variant; diffs by tensor, merged over samples."""

    blocks: Blocks
    asked: frozenset[str] | None  # the tensors whose operators were asked for; None: all
    margins: Margins
    outputs: Tally
    cumulative: Tally
    effect: Tally
    replayed: Tally
    islands: Tally
    runtime: RuntimeFacts | None = None
    refused: Unsupported | None = None  # why the runtime does not take the graph as it ships
    hidden: dict[str, str] = field(default_factory=dict)  # tensor -> why it could not be watched
    not_runnable: dict[str, str] = field(default_factory=dict)  # tensor -> why its operator does not run alone
    recorded: set[str] = field(default_factory=set)
    first: list[Recording] = field(default_factory=list)
    alone: Tensors = field(default_factory=dict)  # of the first sample, what operators gave alone that were not watched
    parts: PartTally = field(default_factory=PartTally)  # of what was replayed
    island_parts: PartTally = field(default_factory=PartTally)
    boundaries: int | None = None  # how many fusion boundaries were watched, in the place of every tensor
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def nothing(
        cls, shop: Workshop, granularity: Granularity | None = None, asked: frozenset[str] | None = None
    ) -> Seen:
        """Nothing seen yet; what will be judged as one."""
        return cls(
            blocks=blocks_of(shop, granularity), asked=asked, margins=Margins(shop.model), outputs=shop.tally(),
            cumulative=shop.tally(), effect=shop.tally(), replayed=shop.tally(), islands=shop.tally(),
        )  # fmt: skip

    def anew(self, shop: Workshop) -> Seen:
        """Nothing seen yet of the same variant, with the same judged as one."""
        return Seen(
            blocks=self.blocks, asked=self.asked, margins=self.margins, outputs=shop.tally(), cumulative=shop.tally(),
            effect=shop.tally(), replayed=shop.tally(), islands=shop.tally(),
        )  # fmt: skip

    @property
    def worst_effect(self) -> TensorDiff | None:
        """The output that watching moved most; None where it was not measured."""
        diffs = self.effect.diffs.values()
        return max(diffs, key=lambda each: (not each.comparable, each.rel_l2 or 0.0), default=None)
