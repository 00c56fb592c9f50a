"""Which pass of a runtime's optimiser brings a fault: the passes that changed the graph, left out by bisection.

A backend whose `+disable=` leaves passes out and which tells the passes that changed a graph (`Session.optimised`)
needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

Shows = Callable[[Collection[str]], bool]  # whether the fault is there with these passes left out

DISABLE = "disable"  # the option that takes names of passes
SEPARATOR = ":"  # a comma ends a variant
MOST_TOGETHER = 3  # passes each of which brings the fault by itself


def responsible(passes: Sequence[str], shows: Shows) -> tuple[str, ...]:
    """The passes without which the fault is gone, as few as found; none where it stays without all of them.

    Where several passes each bring it, all of these have to go. About log2 of their number of trials for each.
    """
    if not passes or shows(passes):
        return ()
    guilty: list[str] = []
    while shows(guilty):
        if len(guilty) == MOST_TOGETHER:
            return ()
        rest = [each for each in passes if each not in guilty]
        # The fewest of the first that have to go, beside those found: the last of these is one of the guilty.
        low, high = 0, len(rest)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if shows([*guilty, *rest[:middle]]) else (low, middle)
        guilty.append(rest[high - 1])
    return tuple(guilty)
