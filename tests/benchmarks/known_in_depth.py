"""Every deviation that `conform probe` finds, put into the middle of a network: is exactly that operator named?

Run: python tests/benchmarks/known_in_depth.py [--backends LIST] [--only PATTERN]. Minutes; TFLite, which converts every
graph anew, takes an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.measure import LastingCrew
from diagnose.deep import between
from locating.planting import diagnosed
from section import Figure, Section, table

from sysnoise_conform.errors import ConformError
from sysnoise_conform.probe.case import ProbeCase, Refusal
from sysnoise_conform.probe.corpus import chosen
from sysnoise_conform.probe.measure import measure as probe
from sysnoise_conform.probe.result import Deviates
from sysnoise_conform.variant import parse_variant

BACKENDS = ("ort", "openvino", "openvino:auto", "mnn")

TEXT = """
The corpus of `conform probe`, case by case as it deviates here, each in the middle of a network of some thirty
operators that feeds it what the case feeds and reads what it makes (`tests/diagnose/deep.py`). **Named**: the culprits
are operators of that case and nobody else; of `openvino:auto`, or the case's operators are among those that compute in
bfloat16. *Refused*: the runtime does not take the network, or takes its process down.
"""


@dataclass(slots=True)
class Tally:
    """Of one backend."""

    named: int = 0
    nobody: int = 0
    others: int = 0
    refused: int = 0


def deviating(backend: str, pattern: str | None) -> Iterator[ProbeCase]:
    """The cases on which this runtime deviates here, as the probe measures it now."""
    cases = chosen() if pattern is None else chosen(pattern)
    found = probe(parse_variant(backend), cases, with_relations=False, watch=lambda *_: None, threads=1)
    for row in found.rows:
        if isinstance(row.result, Deviates) and not isinstance(row.case.truth, Refusal):
            yield row.case


def tried(case: ProbeCase, backend: str, crew: LastingCrew, tally: Tally) -> str:
    """One case in its network; what there is to say of it, unless it was named."""
    network = between(case)
    own = {name for node in case.nodes for name in node.output if name}
    try:
        found = diagnosed(network, backend, crew)
    except ConformError as err:
        tally.refused += 1
        return f"refused: {err}"
    named = {each.layer.output for each in found.culprits}
    narrow = set() if found.computing is None else set(found.computing.operators)
    if (named | narrow) & own and named <= own:
        tally.named += 1
        return ""
    if named:
        tally.others += 1
        return f"named {', '.join(sorted(named))}; {found.sentence}"
    tally.nobody += 1
    return f"named nobody; {found.sentence}"


def measure(backends: Sequence[str] = BACKENDS, pattern: str | None = None) -> Section:
    """Probe, embed, diagnose, count."""
    os.environ.setdefault("CONFORM_CACHE", tempfile.mkdtemp(prefix="located-cache-"))
    tallies: dict[str, Tally] = {}
    said: list[str] = []
    for backend in backends:
        tally = tallies.setdefault(backend, Tally())
        with LastingCrew() as crew:
            for case in deviating(backend, pattern):
                words = tried(case, backend, crew, tally)
                sys.stderr.write(f"{backend} {case.name}: {words or 'named'}\n")
                if words:
                    said.append(f"- {backend}, {case.name}: {words}")
    rows = [(f"`{b}`", str(t.named), str(t.nobody), str(t.others), str(t.refused)) for b, t in tallies.items()]
    missed = sum(each.nobody + each.others for each in tallies.values())
    total = missed + sum(each.named for each in tallies.values())
    columns = ("backend", "named", "nobody named", "somebody else named", "refused")
    return Section(
        title="Known deviations in the middle of a network",
        figures=(
            Figure(what=f"of {total} known deviations not named exactly", value=float(missed), unit="", target=0.0),
        ),
        text="\n\n".join([TEXT.strip(), table(columns, rows), "\n".join(said)]),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--only", help="cases or operators by a shell pattern")
    given = parser.parse_args()
    sys.stdout.write(measure(given.backends.split(","), given.only).markdown() + "\n")


if __name__ == "__main__":
    main()
