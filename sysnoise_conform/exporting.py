"""`conform export` seen from the parent: one child does the work, the parent says what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysnoise_conform.case import Limits
from sysnoise_conform.crew import Crew
from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line


def export(
    factory: str,
    *,
    out: Path,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Path | None,
    opset: int,
    seed: int,
    timeout_s: float,
) -> dict[str, Any]:
    """Export `package.module:factory` to `out`; the facts of the check, see `golden/export.py`.

    Raises UsageError for a factory that can't be had, BadModel for an export that departs from its module.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"--out {one_line(out)}: an export is an .onnx file", hint="name it like model.onnx")
    if not out.parent.is_dir():
        raise UsageError(f"--out {one_line(out)}: there is no folder {one_line(out.parent)}", hint="make it first")
    crew = Crew(Limits(timeout_s=timeout_s))
    with tempfile.TemporaryDirectory(prefix="conform-export-") as folder:
        with crew.member("export", Path(folder) / "log.txt", memory=False) as child:
            reply = child.call(
                "export",
                {
                    "factory": factory,
                    "weights": str(weights.resolve()) if weights else None,
                    "path": str(Path.cwd()),
                    "shapes": {name: list(shape) for name, shape in shapes.items()},
                    "opset": opset,
                    "seed": seed,
                    "out": str(out.resolve()),
                },
                stage="export",
            )
    return dict(reply.payload)
