"""Samples out of .npy, .npz and .safetensors files: one file is one sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from sysnoise_conform.errors import BadInput
from sysnoise_conform.files import digest_stream, open_regular
from sysnoise_conform.graph.intake import Model
from sysnoise_conform.graph.shapes import check_feed, check_type, describe
from sysnoise_conform.inputs.containers import Header, read_arrays
from sysnoise_conform.inputs.samples import ARRAYS, Feed, Samples, kept
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest


def from_arrays(model: Model, paths: Sequence[Path]) -> Samples:
    """One sample per file, in the given order; each is read once here, so that a broken one is named at once."""
    digest = hashlib.sha256()
    for path in paths:
        read_feed(model, path)
        with open_regular(path, what="the input", error=BadInput) as stream:
            digest.update(f"{path.name}\0{digest_stream(stream)}\n".encode(errors="surrogateescape"))
    return Samples(
        kind=ARRAYS,
        names=tuple(one_line(each.name, 120) for each in paths),
        sha256=digest.hexdigest(),
        make=kept(lambda number: read_feed(model, paths[number])),
    )


def read_feed(model: Model, path: Path) -> Feed:
    """The feed that a file holds. Raises BadInput naming what was expected and what is there."""
    what = f"the input file {one_line(path.name, 120)!r}"
    ports = {each.name: each for each in model.inputs}
    only = model.inputs[0].name if len(model.inputs) == 1 else None

    def gate(name: str, header: Header) -> None:
        wanted = name or only or ""
        if wanted not in ports:  # refused before its data is read: a file may hold any number of others
            raise BadInput(f"{what} holds {one_line(wanted, 80)!r}, which is no input", hint=nearest(wanted, ports))
        check_type(ports[wanted], header.dtype, header.shape, what)

    if path.suffix.lower() == ".npy" and only is None:
        wanted = ", ".join(f"{one_line(each.name)} {describe(each)}" for each in model.inputs) or "none"
        raise BadInput(
            f"{what} is one array, but the model's inputs are: {wanted}", hint="write a .npz with these names"
        )
    arrays = read_arrays(path, gate)
    feed = {name or (only or ""): array for name, array in arrays.items()}
    check_feed(model, feed, what)
    return feed
