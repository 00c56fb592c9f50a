"""The child that runs a picture library in an environment of its own: it needs numpy and that library, no more.

Started by `elsewhere` as `python -I elsewhere_child.py CONFIG`; our two files that it uses are loaded by their paths,
since the folder that they stand in may hold another environment's packages.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Answer = Callable[[dict[str, Any], np.ndarray], np.ndarray]


def _at(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dali() -> Answer:
    """NVIDIA's data loading library: on the GPU where there is one ("mixed"), else on the processor."""
    import ctypes

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

    def answer(asked: dict[str, Any], array: np.ndarray) -> np.ndarray:
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
        (found,) = pipe.run()
        return np.array((found.as_cpu() if hasattr(found, "as_cpu") else found).at(0))

    return answer


LIBRARIES: dict[str, Callable[[], Answer]] = {"dali": dali}


def main() -> None:
    """Load the library, say so, and answer until the parent hangs up."""
    config = json.loads(sys.argv[1])
    frames = _at("frames", config["frames"])
    _at("boot", config["boot"]).die_with(config["parent"])
    incoming, outgoing = frames.taken_over()
    try:
        answer = LIBRARIES[config["library"]]()
    except BaseException as err:  # a library that is broken may raise anything, and is told in one line
        frames.send(outgoing, {"error": f"{type(err).__name__}: {err}"[:2000]})
        return
    frames.send(outgoing, {})
    while True:
        try:
            asked, arrays = frames.receive(incoming)
        except EOFError:
            return
        try:
            found = answer(asked, arrays["x"])
        except Exception as err:
            frames.send(outgoing, {"error": f"{type(err).__name__}: {err}"[:2000]})
        else:
            frames.send(outgoing, {}, {"y": found})


if __name__ == "__main__":
    main()
