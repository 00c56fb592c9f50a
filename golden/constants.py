"""The tensor that a Constant node carries, in each of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sysnoise_conform.errors import BadModel
from sysnoise_conform.golden.types import T
from sysnoise_conform.golden.values import Value, from_numpy, from_sparse_proto


def constant_value(attributes: Mapping[str, Any]) -> Value:
    """The value of a Constant node's one attribute; FLOAT as float32."""
    given = {name: each for name, each in attributes.items() if each is not None}
    if len(given) != 1:
        raise BadModel(f"a Constant needs exactly one value, this one has {len(given)}")
    (name, content), = given.items()
    match name:
        case "value":
            assert isinstance(content, Value)
            return content
        case "sparse_value":
            return from_sparse_proto(content)
        case "value_float" | "value_floats":
            return Value(torch.tensor(content, dtype=torch.float32), T.FLOAT)
        case "value_int" | "value_ints":
            return Value(torch.tensor(content, dtype=torch.int64), T.INT64)
        case "value_string" | "value_strings":
            return from_numpy(np.array(content, dtype=object), T.STRING)
        case _:
            raise BadModel(f"a Constant has no attribute {name!r}")
