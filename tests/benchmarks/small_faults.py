"""How many small faults only a part of a tensor shows: a bias on one channel, an error in one column; healthy runs.

Run: python tests/benchmarks/small_faults.py [--every N] [--families LIST] [--backends LIST] [--units X]; a quarter of
an hour. Each fault adds X units (what float32 may be off at that operator, told by the healthy diagnosis) to one
channel of 16 or more, or to the last of 16 or more columns, so that the whole tensor's rms stays below its limit. It
sits in the graph that the backend gets. Counted: located by the whole tensor, located by its parts, missed, an innocent
named.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.draft import Network
from calibration.measure import LastingCrew
from calibration.sets import networks
from diagnose.planted import _followed
from located import diagnosed

from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.errors import ConformError
from sysnoise_conform.judge.departure import departure, unit_of
from sysnoise_conform.judge.policy import Policy

BACKENDS = ("ort", "openvino", "mnn")
FAMILIES = ("residual_cnn", "unet", "mobile", "detector", "dense_cnn", "plain_cnn")
UNITS = 15.0  # in the part; the limit of the whole tensor's rms is 5
LEAST = 16  # channels or columns, so that its rms stays below 15 / sqrt(16)


def planted(
    network: Network, healthy: Diagnosis, every: int, units: float
) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """(kind, tensor, the graph with the fault), at every n-th tensor that can hold it."""
    fit = [
        (each.output, each.replayed.shape, unit_of(each.replayed))
        for each in healthy.layers
        if each.replayed is not None and len(each.replayed.shape) == 4 and unit_of(each.replayed) > 0
    ]
    for kind, axis in (("channel", 1), ("column", 3)):
        wide = [each for each in fit if each[1][axis] >= LEAST and np.prod(each[1]) >= 64 * each[1][axis]]
        for name, shape, unit in wide[::every]:
            shift = np.zeros((1, *[size if at == axis else 1 for at, size in enumerate(shape)][1:]), np.float32)
            shift.reshape(-1)[-1 if kind == "column" else shift.size // 2] = units * unit

            def nodes(sound: str, name: str = name) -> list[onnx.NodeProto]:
                return [helper.make_node("Add", [sound, "fault"], [name], name="fault_add")]

            yield kind, name, _followed(network.model, name, nodes, {"fault": shift})


def told(found: Diagnosis, tensor: str) -> str:
    """How it was located, if it was."""
    names = [each.layer.output for each in found.culprits]
    if names != [tensor]:
        return "missed" if not names else "innocent"
    (culprit,) = found.culprits
    limits = Policy().limits(found.variant, tensor, layer=True)
    whole = departure(culprit.diff, limits, max_code_share=Policy().max_code_share)
    return "whole" if whole is not None else "part"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--units", type=float, default=UNITS)
    given = parser.parse_args()
    os.environ.setdefault("CONFORM_CACHE", tempfile.mkdtemp(prefix="small-faults-cache-"))
    counts: Counter[tuple[str, str, str]] = Counter()
    first: dict[str, Network] = {}
    for each in networks("held-out", samples=2):
        if each.family in given.families.split(","):
            first.setdefault(each.family, each)
    with LastingCrew() as crew:
        for network in first.values():
            for backend in given.backends.split(","):
                try:
                    healthy = diagnosed(network, backend, crew)
                except ConformError as err:
                    sys.stderr.write(f"{network.name} {backend}: {err}\n")
                    continue
                counts[backend, "healthy", "innocent" if healthy.culprits else "silent"] += 1
                for kind, tensor, faulty in planted(network, healthy, given.every, given.units):
                    found = diagnosed(network, backend, crew, faulty)
                    how = told(found, tensor)
                    counts[backend, kind, how] += 1
                    if how in ("missed", "innocent"):
                        where = f"{network.name} {backend} {kind} at {tensor}"
                        sys.stderr.write(f"{where}: {how}: {found.sentence[:200]}\n")
                sys.stderr.write(f"{network.name} {backend} done\n")
    for (backend, kind, how), number in sorted(counts.items()):
        sys.stdout.write(f"{backend:10} {kind:8} {how:9} {number}\n")


if __name__ == "__main__":
    main()
