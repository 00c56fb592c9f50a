"""What a runtime's own quantiser calibrates on: samples that the user names in the variant, read in the child."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.printable import one_line


@dataclass(frozen=True)
class Samples:
    """Feeds to calibrate on, by ONNX name, and a digest of their files."""

    feeds: tuple[Mapping[str, np.ndarray], ...]
    sha256: str = ""

    @property
    def told(self) -> str:
        """What a report says of them."""
        return f"{len(self.feeds)} samples, sha256 {self.sha256[:12]}"


def read_samples(
    backend: str, hint: str, place: str | None, shapes: Mapping[str, tuple[int, ...]]
) -> Samples:
    """The samples that the backend's `hint` needs, from an .npz file or a folder of them: one file is one sample.

    `shapes` are those of the feeds to come, which samples must have. Raises `UsageError` where none are given,
    `BadInput` where they can't serve: the user's mistake, not the runtime's.
    """
    form = f"+hint={hint}+calibration=/path/to/folder, whose .npz files hold one sample each"
    if place is None:
        raise UsageError(f"{backend}+hint={hint} needs samples to calibrate on", hint=f"say {form}")
    path = Path(place)
    if not path.is_absolute():  # the session works in a folder of its own
        why = f"the calibration folder {one_line(place, 120)!r} must be an absolute path"
        raise UsageError(why, hint=f"say {form}")
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise BadInput(f"there is no .npz file at {one_line(place, 120)!r}", hint=f"say {form}")
    feeds, digest = [], hashlib.sha256()
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                feeds.append({name: arrays[name] for name in arrays.files})
        except Exception as error:  # a zip's, numpy's or the file system's own
            raise BadInput(
                f"the calibration file {one_line(file.name, 80)!r} can't be read: {one_line(error, 120)}",
                hint="write it with numpy.savez, one array for each input of the model",
            ) from error
        _check(feeds[-1], shapes, f"calibration file {one_line(file.name, 80)!r}")
        digest.update(file.read_bytes())
    return Samples(tuple(feeds), digest.hexdigest())


def _check(sample: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    for name, shape in shapes.items():
        array = sample.get(name)
        if array is None or array.shape != shape:
            got = "lacks it" if array is None else f"has it as {array.shape}"
            raise BadInput(
                f"input {one_line(name, 80)!r} is {shape}, the {what} {got}",
                hint="give samples of the model's own inputs",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadInput(
                f"the {what} holds NaN or Inf in {one_line(name, 80)!r}",
                hint="ranges can't come from it; leave it out, or mend it",
            )
