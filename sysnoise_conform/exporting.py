"""`conform export` seen from the parent: one child does the work, the parent says what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysnoise_conform.case import Limits
from sysnoise_conform.errors import UsageError
from sysnoise_conform.models.zoo.member import TOKENIZER, Member, exported_card, member
from sysnoise_conform.models.zoo.places import Missing, look, missing_line
from sysnoise_conform.models.zoo.spelling import tokenizer
from sysnoise_conform.printable import one_line
from sysnoise_conform.report.folder import atomic_write
from sysnoise_conform.runner.crew import Crew

FACTORY = "sysnoise_conform.models.zoo.build:build"


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
    arguments: Mapping[str, Any] | None = None,
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
        "arguments": dict(arguments or {}),
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
    lines += [f"wrote {one_line(facts[each])}" for each in ("card", "tokenizer") if facts.get(each)]
    return lines


def export_member(
    name: str,
    *,
    out: Path,
    weights: Path | None = None,
    random_seed: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    opset: int = 18,
    timeout_s: float = 3600.0,
) -> dict[str, Any]:
    """Export a member of the zoo to `out`, with its card beside it; the facts of the check.

    With the weights that are given, or found on this machine, or with random ones where a seed says so. `shapes` goes
    before the card's. Raises UsageError where there are no weights, and as `export` does.
    """
    found = member(name)
    place = None if random_seed is not None else look(found, weights)
    if isinstance(place, Missing):
        hint = f"fetch them by: {place.command}" if place.command else "no library has any: give --weights FILE"
        # MCUNet's architecture comes with its weights alone.
        other = "" if found.sources[0].library == "mcunet" else "; or try with --random-weights"
        raise UsageError(missing_line(found, place), hint=hint + other)
    number = None if place is None or place.source is None else found.sources.index(place.source)
    asked = {name: sizes for name, sizes in (shapes or {}).items() if name not in found.card.shapes}
    if asked:
        raise UsageError(f"{name} has no input {one_line(next(iter(asked)), 60)!r}", hint=", ".join(found.card.shapes))
    facts = export(
        FACTORY,
        out=out,
        shapes={**found.card.shapes, **(shapes or {})},
        weights=None,
        opset=opset,
        seed=0,
        timeout_s=timeout_s,
        dtypes=found.card.weights.dtypes,
        arguments={
            "name": name,
            "weights": None if place is None else str(place.path.resolve()),
            "source": number,
            "seed": random_seed,
        },
    )
    if facts["card"]:
        spelled = _spelled(found, None if place is None else place.path, out, facts)
        origin = f"random, seed {random_seed}" if place is None else place.path.name
        atomic_write(out.with_suffix(".toml"), exported_card(found, facts["sha256"], origin, spelled))
    return facts


def _spelled(one: Member, weights: Path | None, out: Path, facts: dict[str, Any]) -> str | None:
    """Write the member's tokenizer beside its export; what it is called there, None where random weights have none."""
    if one.card.text is None or (weights is None and not one.letters):
        return None
    place = out.with_suffix(f".{TOKENIZER}")
    content = tokenizer(one, weights)
    if isinstance(content, Missing):
        why = f"no tokenizer lies beside the weights: looked for {', '.join(content.looked)}"
        if not place.is_file():
            facts["notes"] = [*facts["notes"], f"{why}; before conform noise put one at {place.name}"]
    else:
        atomic_write(place, content)
        facts["tokenizer"] = str(place.resolve())
    return place.name
