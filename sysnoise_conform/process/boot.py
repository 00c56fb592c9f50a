"""The first file of a child process: ties its life to the parent's, limits it, and shows it where our code lies.

Started as `python -u boot.py CONFIG`, a file by its path, and not as `python -m sysnoise_conform.process.worker`: the
interpreter may be another one, in an environment that holds a runtime, numpy and onnx but no sysnoise_conform; and
`-m` searches the working directory first on Python 3.10. So the parent says in CONFIG which folders are our
packages, and nothing is imported before this file's own folder is off the path (it holds a `report.py`, a `graph`).
Standard library only; Python 3.10.
"""

from __future__ import annotations

import os
import sys
from typing import Any


class Roots:
    """A finder on `sys.meta_path` for our own packages, from the folders that the parent named."""

    def __init__(self, roots: dict[str, str]) -> None:
        from importlib.util import spec_from_file_location  # here: an import within find_spec would come back to it

        self._roots = roots
        self._spec = spec_from_file_location

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        """The package `fullname` if it is one of ours, else None: its modules are found by its folder."""
        folder = self._roots.get(fullname)
        if folder is None:
            return None
        return self._spec(fullname, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])


def _leave_own_folder() -> None:
    own = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [each for each in sys.path if each and os.path.realpath(each) != own]


def die_with(parent: int) -> None:
    """Have the kernel end this process as soon as the thread that started it has ended. Raises OSError."""
    import ctypes
    import signal

    pr_set_pdeathsig = 1  # <linux/prctl.h>
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)


def _limit(memory: int | None) -> None:
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Python's handlers wait for native code to return


def main() -> None:
    """Prepare the process and serve until the parent hangs up."""
    _leave_own_folder()
    import faulthandler
    import json

    config = json.loads(sys.argv[1])
    die_with(config["parent"])
    _limit(config["memory"])
    faulthandler.enable()
    os.set_inheritable(config["fd"], False)
    sys.meta_path.insert(0, Roots(config["roots"]))

    from sysnoise_conform.process.worker import serve

    serve(config["fd"], config.get("ahead"))


if __name__ == "__main__":
    main()
