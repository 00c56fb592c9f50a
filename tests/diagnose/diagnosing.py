"""One of the calibration's networks, diagnosed; what the backend gets may be another graph, with a fault in it."""

from __future__ import annotations

from pathlib import Path

import onnx
from calibration.draft import Network
from calibration.measure import LIMITS, LastingCrew, write

from sysnoise_conform.case import Case, Deployed
from sysnoise_conform.diagnose.course import diagnose
from sysnoise_conform.diagnose.facts import Diagnosis
from sysnoise_conform.judge.policy import Policy
from sysnoise_conform.variant import parse_variants


def diagnosed(
    network: Network, backend: str, folder: Path, crew: LastingCrew, faulty: onnx.ModelProto | None = None, **more: bool
) -> Diagnosis:
    """The diagnosis of `network` on `backend`, whose files go below `folder`; `more` is for `diagnose`."""
    model = write(network, folder)
    deployed = None
    if faulty is not None:
        deployed = Deployed(path=folder / "faulty.onnx")
        onnx.save(faulty, deployed.path)
    case = Case(
        model=model, inputs=folder / "inputs", variants=parse_variants(backend), deployed=deployed, limits=LIMITS
    )
    return diagnose(case, folder / "out", crew=crew, watch=lambda *_: None, policy=Policy(), **more)
