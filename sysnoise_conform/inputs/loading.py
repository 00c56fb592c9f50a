"""Chooses where the samples of a run come from: the files that were named, or a seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sysnoise_conform.card import Card
from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import resolved
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.graph.shapes import Shapes, check_shapes
from sysnoise_conform.inputs.samples import Samples
from sysnoise_conform.inputs.suffixes import ARRAYS, PICTURES
from sysnoise_conform.printable import one_line


def load_samples(
    model: Model, *, inputs: Path | None, card: Card | None, samples: int | None, seed: int, shapes: Shapes
) -> Samples:
    """The samples of a run.

    `inputs` is an array file, a folder of them, a picture, or a folder of pictures (with a card); None makes
    synthetic ones. `samples` takes the first so many, by name. Raises BadInput where there is none, where a
    file is broken, and where it does not fit the model.
    """
    check_shapes(model, shapes)
    if samples is not None and samples < 1:
        raise BadInput(f"--samples {samples} would compare nothing", hint="take at least one")
    if inputs is None:
        from sysnoise_conform.inputs.synthetic import synthetic

        return synthetic(model, card=card, samples=samples, seed=seed, shapes=shapes)
    path = resolved(inputs, what="the inputs", error=BadInput)
    arrays, images = _files(path)
    if arrays and images:
        raise BadInput(
            f"the folder {one_line(path, 200)!r} holds both arrays and pictures",
            hint="put them into folders of their own",
        )
    chosen = (arrays or images)[:samples]
    if not chosen:
        known = ", ".join((*ARRAYS, *PICTURES))
        raise BadInput(f"no arrays and no pictures in {one_line(path, 200)!r}", hint=f"known: {known}")
    if samples is not None and len(chosen) < samples:
        raise BadInput(f"--samples {samples}, but {one_line(path, 200)!r} holds {len(chosen)}", hint="lower --samples")
    if arrays:
        from sysnoise_conform.inputs.arrays import from_arrays

        return from_arrays(model, chosen)
    from sysnoise_conform.inputs.images import from_images

    return from_images(model, chosen, card, shapes)


def _files(path: Path) -> tuple[Sequence[Path], Sequence[Path]]:
    """Array files and picture files, by name; a single file stands for a folder of one."""
    if os.path.isdir(path):  # unlike Path.is_dir, never raises: a name may be too long
        try:
            names = sorted(os.listdir(path))
        except OSError as err:
            raise BadInput(f"can't list the folder {one_line(path, 200)!r}: {one_line(err.strerror or err)}") from err
        files = [path / name for name in names if not name.startswith(".")]
    else:
        files = [path]
    arrays = [each for each in files if each.suffix.lower() in ARRAYS]
    images = [each for each in files if each.suffix.lower() in PICTURES]
    if not os.path.isdir(path) and not arrays and not images:
        if not os.path.exists(path):
            raise BadInput(
                f"can't open the inputs {one_line(path, 200)!r}: no such file or folder", hint="check the path"
            )
        raise BadInput(
            f"the input {one_line(path.name, 120)!r} is neither an array nor a picture",
            hint=f"known: {', '.join((*ARRAYS, *PICTURES))}",
        )
    return arrays, images
