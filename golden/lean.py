"""PyTorch without what only tracing needs, which is a third of its import.

`torch/__init__.py` imports `torch._meta_registrations` for its effect: it registers how each operator acts on tensors
without data, for torch.compile and torch.export. The golden computes, so it leaves that out; an exporter must not.
Only for the versions with which the whole golden was tested so: any other PyTorch is imported as it is.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types

TESTED = ("2.13.",)
_META = "torch._meta_registrations"


def import_torch() -> None:
    """Import PyTorch, once per process. Raises what `import torch` raises."""
    if "torch" in sys.modules or not _tested():
        importlib.import_module("torch")
        return
    sys.modules[_META] = types.ModuleType(_META)
    try:
        importlib.import_module("torch")
    finally:  # whoever asks for it by name gets the real one
        del sys.modules[_META]
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "_meta_registrations"):
            del torch._meta_registrations


def _tested() -> bool:
    try:
        return importlib.metadata.version("torch").startswith(TESTED)
    except importlib.metadata.PackageNotFoundError:
        return False
