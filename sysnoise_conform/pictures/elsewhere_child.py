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


# By the name of their environment: what loads each, and gives its name with its version and what asks it.
LIBRARIES: dict[str, Callable[[], tuple[str, Answer]]] = {"dali": dali}


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
