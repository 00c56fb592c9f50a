"""OpenVINO's own integers: NNCF's post-training quantisation of the model that OpenVINO has read."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sysnoise_conform.backends.calibrating import Samples
from sysnoise_conform.backends.overheard import overheard
from sysnoise_conform.errors import BackendUnavailable, Unsupported
from sysnoise_conform.printable import one_line

HINT = "int8"


def quantised(model: Any, samples: Samples) -> Any:
    """The model with int8 weights and 8-bit activations, by NNCF's defaults (preset "performance", bias correction).

    Raises `Unsupported` with NNCF's words, BackendUnavailable where it is not installed.
    """
    nncf = _import()
    inputs = [sorted(port.get_names()) for port in model.inputs]
    feeds = [
        [np.ascontiguousarray(next(sample[name] for name in names if name in sample)) for names in inputs]
        for sample in samples.feeds
    ]
    try:
        # Its bars and summaries on stdout belong into the session's log.
        with overheard():
            return nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds))
    except Exception as error:  # of many types
        raise Unsupported(f"NNCF can't make int8 of this model: {one_line(error)}", stage="convert") from error


def _import() -> Any:
    # It reports each use to its maker unless it believes to be in a CI: what is tested here is nobody's business.
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf
    except ImportError as error:
        raise BackendUnavailable(
            f"NNCF can't be imported: {one_line(error)}", hint="pip install 'sysnoise-conform[quantize]'"
        ) from error
    return nncf
