"""torchvision, also where its compiled operators do not load: its usual wheel is made for CUDA, and torch here is not.

Then `import torchvision` ends with "operator torchvision::nms does not exist". Its operators are declared here first,
nms and roi_align with plain PyTorch behind them, so that its networks can be built, run and exported; where its own
load it stays as it is. What stays out is named by torchvision itself when it is called (deform_conv2d, image decoding).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sysnoise_conform.errors import UsageError
from sysnoise_conform.printable import one_line

# Schemas of torchvision/csrc/ops (nms.cpp, roi_align.cpp, quantized/cpu/qnms_kernel.cpp), version 0.28.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width,"
    " int sampling_ratio, bool aligned) -> Tensor",
)
_CURE = "pip install --no-deps torchvision==0.28.0 (of torch's own version: 0.28 goes with torch 2.13)"

_declared: list[Any] = []  # a Library's operators end with it


def torchvision() -> Any:
    """The module. Raises UsageError where it is not installed, or is one for another PyTorch."""
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as err:
        raise UsageError("torchvision is not installed", hint=_CURE) from err
    except RuntimeError as err:
        if "does not exist" not in str(err):
            raise UsageError(f"torchvision does not load: {one_line(err, 160)}", hint=_CURE) from err
    try:
        return _declaring()
    except (ImportError, RuntimeError, AttributeError) as err:
        raise UsageError(f"torchvision does not load beside this PyTorch: {one_line(err, 160)}", hint=_CURE) from err


def _declaring() -> Any:
    make: Any = torch.library.Library
    library = make("torchvision", "DEF")
    _declared.append(library)
    for schema in _SCHEMAS:
        library.define(schema)
    with _lenient_fakes():
        module = importlib.import_module("torchvision")
        extension = importlib.import_module("torchvision.extension")
        boxes = importlib.import_module("torchvision.ops.boxes")
        align = importlib.import_module("torchvision.ops.roi_align")
    library.impl("nms", _nms, "CPU")
    library.impl("roi_align", _aligner(align), "CPU")
    for each in (extension, boxes, align):  # each has its own name for it
        for name, ours in (("_has_ops", _has_ops), ("_assert_has_ops", _assert_has_ops)):
            if hasattr(each, name):
                setattr(each, name, ours)
    return module


def _has_ops() -> bool:  # functions of a module's own: TorchScript compiles them
    return True


def _assert_has_ops() -> None:
    return None


@contextlib.contextmanager
def _lenient_fakes() -> Iterator[None]:
    """torchvision registers shapes of operators that are not there: passed over."""
    own = torch.library.register_fake

    def register(name: Any, *given: Any, **options: Any) -> Any:
        made = own(name, *given, **options)
        if given:
            return made

        def wrap(function: Any) -> Any:
            with contextlib.suppress(RuntimeError):
                return made(function)
            return function

        return wrap

    torch.library.register_fake = register
    try:
        yield
    finally:
        torch.library.register_fake = own


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """torchvision's rule: by falling score, of equal ones the first; boxes that overlap more than the threshold go."""
    order = torch.argsort(scores, descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    left = order
    while left.numel():
        first, left = left[0], left[1:]
        kept.append(int(first))
        low = torch.maximum(boxes[first, :2], boxes[left, :2])
        high = torch.minimum(boxes[first, 2:], boxes[left, 2:])
        common = (high - low).clamp(min=0).prod(dim=1)
        left = left[~(common / (areas[first] + areas[left] - common) > iou_threshold)]
    return torch.tensor(kept, dtype=torch.int64)


def _aligner(module: Any) -> Any:
    # The Python version comes wrapped for torch.compile, which takes minutes on its first call: what it wraps is run.
    plain = getattr(module._roi_align, "__wrapped__", module._roi_align)

    def align(
        input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int,  # noqa: A002
        aligned: bool,
    ) -> Tensor:  # fmt: skip
        found: Tensor = plain(input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)
        return found

    return align
