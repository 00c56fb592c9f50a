"""Watching less, where watching everything changes what is watched: the tensors that survive a runtime's fusions.

Making a tensor an output keeps a runtime from fusing it away, and what is computed then is not what ships. A runtime
that tells which tensors it still computes as such is watched at these alone; what lies between two of them is judged as
one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sysnoise_conform.diagnose.seen import Seen
from sysnoise_conform.errors import BackendError
from sysnoise_conform.judge.departure import unit_of
from sysnoise_conform.outcome import TensorDiff
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.session import RemoteSession

# Two correct computations are each about one unit off, and by sqrt(2) from each other; few elements stray from that.
UNDISTURBED = 3.0

FUSED = "fused away: it was watched at fusion boundaries, and this lies between two"

Taps = Sequence[tuple[str, ...]]
Tapped = Callable[[Taps, Seen, str], None]  # watch these tensors, into this record, in graphs of this name


def floor_ratio(diff: TensorDiff | None) -> float | None:
    """How far watching moved the worst output, in units of what it may be off; None where that has no unit."""
    if diff is None:
        return None
    if diff.exact:
        return 0.0
    unit = unit_of(diff)
    return diff.rmse / unit if diff.rmse is not None and unit > 0 else None


def watch_at_boundaries(seen: Seen, nothing: Seen, untouched: RemoteSession, taps: Taps, tapped: Tapped) -> None:
    """Watch once more, at fusion boundaries alone, where watching everything moved an output beyond rounding.

    What was seen so is kept if it disturbs less. `nothing` is a record in which nothing was seen yet.
    """
    before = seen.worst_effect
    ratio = floor_ratio(before)
    if before is None or (ratio is not None and ratio <= UNDISTURBED):
        return
    try:
        left = untouched.optimised().tensors
    except BackendError as err:
        seen.notes.append(f"fusion boundaries can't be had: {one_line(err.message, 200)}")
        return
    if left is None:
        return
    everything = [name for part in taps for name in part]
    fewer = [tuple(name for name in part if name in set(left)) for part in taps]
    count = sum(map(len, fewer))
    if not 0 < count < len(everything):
        return
    tapped([part for part in fewer if part], nothing, "boundaries")
    after = nothing.worst_effect
    now = floor_ratio(after)
    if after is None or (after.rel_l2 or 0.0) >= (before.rel_l2 or 0.0) or now is None:
        seen.notes.append(f"watched at {count} fusion boundaries alone, the outputs were moved no less")
        return
    seen.hidden.update({name: FUSED for name in everything if name not in nothing.recorded})
    seen.watched_as(nothing)
    seen.boundaries = count
    seen.notes.append(
        f"watching all of {len(everything)} tensors moved the outputs by {before.rel_l2 or 0.0:.3g} relative L2: "
        f"watched at {count} fusion boundaries in their place, and what lies between is judged as blocks"
    )
