"""Interrupts that come where Python would lose them or crash of them: still one line, and 130."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

LOST = """
import os, signal, weakref
from sysnoise_conform import interruption

class Thing: pass

with interruption.listening():
    thing = Thing()
    weakref.finalize(thing, os.kill, os.getpid(), signal.SIGTERM)
    keep = weakref.ref(thing, lambda _: [None for _ in range(100000)])
    del thing
    while True:
        pass
"""
IMPORTED = """
import os, signal, sys, tempfile, pathlib
from sysnoise_conform import interruption

folder = tempfile.mkdtemp()
module = pathlib.Path(folder, "native.py")
module.write_text(
    "import os, signal\\ntry:\\n    os.kill(os.getpid(), signal.SIGINT)\\n    x = 1\\n"
    "except KeyboardInterrupt:\\n    os.abort()\\n"
)
sys.path.insert(0, folder)
with interruption.listening():
    import native
"""
CALLED_BACK = """
import os, signal
import polars as pl
from sysnoise_conform import interruption

real = pl.List.__init__

def init(self, inner):
    os.kill(os.getpid(), signal.SIGTERM)
    real(self, inner)

init.__code__ = init.__code__.replace(co_filename=real.__code__.co_filename)  # as if it came there
pl.List.__init__ = init
data = pl.Series("x", [[1]])
with interruption.listening():
    pl.DataFrame({"x": data}).dtypes
"""
DEAF = """
import hashlib, os, signal, threading
from sysnoise_conform import interruption

with interruption.listening(), interruption.at_once(lambda: os.write(1, b"children ended")):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes of native code
"""
STUBBORN = """
import os, signal, threading, time
from sysnoise_conform import interruption

with interruption.listening():
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    try:
        time.sleep(60)
    finally:
        time.sleep(60)  # a thread that is waited for
"""

SCRIPTS = {"lost": LOST, "imported": IMPORTED, "called back": CALLED_BACK, "deaf": DEAF, "stubborn": STUBBORN}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_an_interrupt_is_one_line_and_130_wherever_it_comes(script: str) -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert done.returncode == 130, done.stderr
    assert done.stderr in ("error: interrupted\n", "")
    assert time.monotonic() - began < 20
    if script == DEAF:
        assert done.stdout == "children ended"
