"""OpenCV where it is installed, brought in once for all threads."""

from __future__ import annotations

import importlib
import threading
from types import ModuleType

_LOCK = threading.Lock()
_found: dict[str, ModuleType | None] = {}


def opencv() -> ModuleType | None:
    """The module, told to take one thread: pictures are what goes side by side. None where it is not installed.

    While one thread imports it, it is no module for another one to look at: it puts itself together as it goes.
    """
    with _LOCK:
        if "cv2" not in _found:
            try:
                module = importlib.import_module("cv2")
                module.setNumThreads(1)
            except ImportError:
                _found["cv2"] = None
            else:
                _found["cv2"] = module
        return _found["cv2"]
