"""`conform export` seen from the parent: one child does the work, the parent says what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysnoise_conform.case import Limits
from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner.crew import Crew


def export(
    factory: str,
    *,
    out: Path,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Path | None,
    opset: int,
    seed: int,
    timeout_s: float,
    dtypes: Mapping[str, str] | None = None,
    dynamic_batch: bool = False,
) -> dict[str, Any]:
    """Export `package.module:factory` to `out`; the facts of the check, see `golden/export.py`.

    Raises UsageError for a factory that can't be had, BadModel for an export that departs from its module.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"--out {one_line(out)}: an export is an .onnx file", hint="name it like model.onnx")
    if not out.parent.is_dir():
        raise UsageError(f"--out {one_line(out)}: there is no folder {one_line(out.parent)}", hint="make it first")
    crew = Crew(Limits(timeout_s=timeout_s))
    asked = {
        "factory": factory,
        "weights": str(weights.resolve()) if weights else None,
        "path": str(Path.cwd()),
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "dtypes": dict(dtypes or {}),
        "opset": opset,
        "seed": seed,
        "dynamic_batch": dynamic_batch,
        "out": str(out.resolve()),
    }
    with (
        tempfile.TemporaryDirectory(prefix="conform-export-") as folder,
        crew.member("export", Path(folder) / "log.txt") as child,
    ):
        reply = child.call("export", asked, stage="export")
    return dict(reply.payload)


def as_text(facts: Mapping[str, Any]) -> list[str]:
    """What came of an export, line by line: how each output compares, what to know, where the files lie."""
    lines = []
    for each in facts["outputs"]:
        shape = "x".join(map(str, each["shape"])) or "scalar"
        ratio = each["floor_ratio"]
        agreement = "equal" if ratio is None else f"{ratio:.2f} times the module's own float32 rounding"
        name = one_line(each["name"], 80)
        lines.append(f"{name} ({shape}): {agreement}, at most {each['max_abs']:.1e} off in float64")
    lines += [f"note: {one_line(each)}" for each in facts["notes"]]
    lines.append(
        f"wrote {one_line(facts['out'])} (opset {facts['opset']}, {facts['exporter']} exporter, "
        f"sha256 {facts['sha256'][:16]}…)"
    )
    if facts["card"]:
        lines.append(f"wrote {one_line(facts['card'])}")
    return lines
