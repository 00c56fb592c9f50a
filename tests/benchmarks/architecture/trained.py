"""A design and a seed as a folder: what was learnt, its export and its card."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from pathlib import Path

from benchmarks.architecture.designs import DESIGNS, parameters
from safetensors.torch import save_file

from sysnoise_conform.golden.export import export
from sysnoise_conform.models.tiny import train_classifier
from sysnoise_conform.models.tiny.networks import Classifier
from sysnoise_conform.models.tiny.recipe import CLASSIFIER, Recipe

MODEL = "model.onnx"


@cache
def _examples(recipe: Recipe) -> train_classifier.Examples:
    return train_classifier.examples(recipe)


def trained(name: str, seed: int, work: Path, recipe: Recipe = CLASSIFIER) -> Path:
    """The folder, made unless it is there by the same recipe. Pictures and course are tiny-cls's; the seed is not."""
    folder = work / f"{name}-{seed}"
    record, made = folder / "training.json", asdict(replace(recipe, seed=seed))
    if (folder / MODEL).exists() and json.loads(record.read_text())["recipe"] == made:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seen = _examples(replace(recipe, seed=0))  # the seed isn't theirs
    began = time.process_time()
    net = train_classifier.trained(DESIGNS[name], replace(recipe, seed=seed), seen, folder.name)
    seconds = time.process_time() - began
    weights = folder / "model.safetensors"
    save_file({key: value.detach().contiguous().clone() for key, value in net.state_dict().items()}, weights)
    draft = folder / "draft.onnx"
    export(
        f"{Classifier.__module__}:{Classifier.__name__}", out=draft, shapes={"x": (1, 3, 64, 64)}, weights=weights,
        arguments={"design": DESIGNS[name]},
    )  # fmt: skip
    draft.with_suffix(".toml").unlink()
    (folder / "model.toml").write_text(_card(folder.name))
    record.write_text(json.dumps({"seconds": seconds, "parameters": parameters(DESIGNS[name]), "recipe": made}))
    os.replace(draft, folder / MODEL)
    return folder


def _card(name: str) -> str:
    """tiny-cls's own card under another name, without the weights' origin."""
    place = Path(str(resources.files("sysnoise_conform.models"))) / "tiny-cls" / "tiny-cls.toml"
    text = place.read_text().replace('name = "tiny-cls"', f'name = "{name}"')
    head, _, rest = text.partition("[weights]")
    return head + rest[rest.index("[image]") :]
