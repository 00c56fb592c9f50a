"""The child's side of picture libraries in environments of their own: loads one, and asks it for pixels.

Runs in children of such an environment: Python 3.10, numpy, and what the library brings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

Answer = Callable[[Mapping[str, Any], np.ndarray], np.ndarray]


def dali() -> tuple[str, Answer]:
    """NVIDIA's data loading library: on the GPU where there is one ("mixed"), else on the processor."""
    import ctypes

    import nvidia.dali
    from nvidia.dali import Pipeline, fn, types

    try:
        ctypes.CDLL("libcuda.so.1")
        device = "mixed"
    except OSError:
        device = "cpu"
    made: dict[tuple[Any, ...], Any] = {}

    def pipeline(key: tuple[Any, ...]) -> Any:
        # One picture at a time, as it comes.
        pipe = Pipeline(
            batch_size=1, num_threads=1, device_id=0 if device == "mixed" else None, prefetch_queue_depth=1,
            exec_async=False, exec_pipelined=False,
        )  # fmt: skip
        with pipe:
            if key[0] == "decode":
                # By default it turns the picture as EXIF says; that is an axis of its own here.
                content = fn.external_source(name="x", dtype=types.UINT8, ndim=1)
                found = fn.decoders.image(content, device=device, output_type=types.RGB, adjust_orientation=False)
            else:
                _, kind, smooths, dtype = key
                pixels = fn.external_source(
                    name="x", dtype=types.UINT8 if dtype == "uint8" else types.FLOAT, ndim=3, layout="HWC"
                )
                rows = fn.external_source(name="rows", dtype=types.FLOAT, ndim=0)
                columns = fn.external_source(name="columns", dtype=types.FLOAT, ndim=0)
                found = fn.resize(
                    pixels.gpu() if device == "mixed" else pixels, resize_y=rows, resize_x=columns,
                    interp_type=getattr(types, f"INTERP_{kind}"), antialias=smooths,
                )  # fmt: skip
            pipe.set_outputs(found)
        pipe.build()
        return pipe

    def answer(asked: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        key: tuple[Any, ...] = ("decode",)
        if asked["do"] == "resize":
            key = ("resize", asked["kind"], asked["smooths"], str(array.dtype))
        if key not in made:
            made[key] = pipeline(key)
        pipe = made[key]
        pipe.feed_input("x", [array])
        if asked["do"] == "resize":
            rows, columns = asked["size"]
            pipe.feed_input("rows", [np.array(rows, np.float32)])
            pipe.feed_input("columns", [np.array(columns, np.float32)])
        try:
            (found,) = pipe.run()
        except RuntimeError as err:
            del made[key]  # after an error a pipeline does not run again
            raise RuntimeError(_cause(str(err))) from err
        return np.array((found.as_cpu() if hasattr(found, "as_cpu") else found).at(0))

    return f"NVIDIA DALI {nvidia.dali.__version__}, {device}", answer


def _cause(said: str) -> str:
    """What DALI says of an error, without the definition of its pipeline."""
    cause = said.rpartition("encountered:\n")[2].removesuffix("Current pipeline object is no longer valid.")
    return cause.strip(" :\n")


def compressai() -> tuple[str, Answer]:
    """A learned codec: what comes out of its bit stream, of one picture at a time, on the processor."""
    import hashlib
    import importlib
    import importlib.metadata

    import torch

    from sysnoise_conform.pictures import codec

    place = codec.weights()
    known = None if place is None else codec.architecture(place)
    if place is None or known is None:
        raise OSError(codec.missing())
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else ""
    _without_data_sets()
    module, name = known
    kind = getattr(importlib.import_module(f"compressai.models.{module}"), name)
    state = torch.load(place, map_location="cpu", weights_only=True)
    network = kind.from_state_dict(state.get("state_dict", state)).eval()
    network.update()
    torch.set_num_threads(1)

    def answer(_: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        # Its transforms halve a picture up to six times; what is added at the right and below goes again.
        height, width = array.shape[:2]
        more = [-height % 64, -width % 64]
        padded = np.pad(array, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        x = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)[None])).to(torch.float32) / 255
        with torch.inference_mode():
            written = network.compress(x)
            read = network.decompress(written["strings"], written["shape"])["x_hat"]
        pixels = (read[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)[:height, :width])

    return f"compressai {importlib.metadata.version('compressai')}, {place.name}, sha256 {digest[:12]}", answer


def _without_data_sets() -> None:
    """Make compressai's networks importable alone.

    Its package imports its data sets and transforms, which want torchvision and torch_geometric; torchvision's wheel
    does not load beside a CPU torch, and neither computes anything here. So they are empty, and the package is its
    folder.
    """
    import importlib.util
    import sys
    import types

    for name in ("torch_geometric", "torchvision"):
        empty, transforms = types.ModuleType(name), types.ModuleType(f"{name}.transforms")
        empty.transforms = transforms  # type: ignore[attr-defined]
        sys.modules.update({name: empty, transforms.__name__: transforms})
    found = importlib.util.find_spec("compressai")
    assert found is not None
    assert found.submodule_search_locations is not None
    for name, folder in (("compressai", ""), ("compressai.models", "/models")):
        bare = types.ModuleType(name)
        bare.__path__ = [f"{found.submodule_search_locations[0]}{folder}"]
        sys.modules[name] = bare
    # What the package itself defines, of which its networks ask for these.
    sys.modules["compressai"].get_entropy_coder = lambda: "ans"  # type: ignore[attr-defined]
    sys.modules["compressai"].available_entropy_coders = lambda: ["ans"]  # type: ignore[attr-defined]


# By the name of their environment: what loads each, and gives its name with its version and what asks it.
LIBRARIES: dict[str, Callable[[], tuple[str, Answer]]] = {"dali": dali, "compressai": compressai}


def handle(payload: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Carry one request out: `open` loads the library and tells its version, the others make `y` of `x`.

    Raises whatever the library raises.
    """
    version, answer = _opened(str(payload["library"]))
    if payload["do"] == "open":
        return {"version": version}, {}
    return {}, {"y": answer(payload, tensors["x"])}


@cache
def _opened(name: str) -> tuple[str, Answer]:
    return LIBRARIES[name]()
