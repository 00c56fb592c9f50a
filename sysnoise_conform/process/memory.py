"""How a program says that it found no memory. Runs in children: Python 3.10, standard library alone."""

from __future__ import annotations

import re

# C++, glibc, ONNX Runtime, numpy, CUDA; then Python's own exception, the dynamic loader and OpenBLAS.
_WORDS = re.compile(
    r"bad[_ ]alloc|cannot allocate memory|failed to allocate memory|unable to allocate|out of memory"
    r"|\bMemoryError\b|failed to map segment|memory allocation still failed",
    re.IGNORECASE,
)


def tells_of_want(text: str) -> bool:
    """Whether `text`, an exception's or a log's, says that an allocation failed."""
    return _WORDS.search(text) is not None
