"""The real command line under observation: what it wrote and when, and what of it is still there."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-P", "-m", "sysnoise_conform"]
MARK = "FAULT_SESSION"


@dataclass
class Run:
    """One command line with a store, a folder for temporary files and a report of its own."""

    folder: Path
    env: dict[str, str]
    mark: str
    popen: subprocess.Popen[str] | None = None
    code: int = 0
    stdout: str = ""
    stderr: str = ""
    named: dict[str, float] = field(default_factory=dict)  # variant -> when its outcome stood in the report
    hit: bool = False  # what was to be killed was alive when the signal came
    orphaned: bool = False  # a process of it was there a second after its end
    cleared: bool = True  # its temporary files were gone a second after its end
    lateness: float = 0.0  # the most that this loaded machine let the observer oversleep

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def stamps(self) -> Path:
        return self.folder / "stamps"

    @property
    def store(self) -> Path:
        return Path(self.env["CONFORM_CACHE"])

    def start(self, *arguments: str | Path, **options: Any) -> Run:
        self.popen = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], cwd=self.folder, env=self.env, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        return self

    def finish(self, timeout: float = 120) -> Run:
        assert self.popen is not None
        stop = threading.Event()
        observer = threading.Thread(target=self._observe, args=(stop,))
        observer.start()
        try:
            self.stdout, self.stderr = self.popen.communicate(timeout=timeout)
        finally:
            stop.set()
            observer.join()
        self.code = self.popen.returncode
        return self

    def _observe(self, stop: threading.Event) -> None:
        while not stop.wait(0.01):
            began = time.monotonic()
            for record in self.records():
                if record.get("record") == "outcome":
                    self.named.setdefault(record["variant"], began)
            self.lateness = max(self.lateness, time.monotonic() - began)
        for record in self.records():
            if record.get("record") == "outcome":
                self.named.setdefault(record["variant"], time.monotonic())

    def records(self) -> list[dict[str, Any]]:
        """The whole lines of the report so far."""
        try:
            content = (self.out / "report.jsonl").read_bytes()
        except OSError:
            return []
        return [json.loads(line) for line in content.split(b"\n")[:-1]]

    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "summary.json").read_text()))

    def variant(self, name: str) -> dict[str, Any]:
        return next(dict(each) for each in self.summary()["variants"] if each["variant"] == name)

    def numbers(self, variant: str) -> list[str]:
        """Every number that was measured about a variant, as text: equal for equal bits."""
        return [
            json.dumps({**each, "variant": ""}, sort_keys=True)
            for each in self.records()
            if each["record"] == "tensor" and each["variant"] == variant
        ]

    def stamp(self, name: str) -> float:
        return float((self.stamps / name).read_text())

    def mine(self) -> list[int]:
        """The processes that carry this run's mark: itself, its children and what they started."""
        needle = f"{MARK}={self.mark}".encode()
        found = []
        for each in os.listdir("/proc"):
            if each.isdigit() and int(each) != os.getpid():
                try:
                    environ = Path(f"/proc/{each}/environ").read_bytes()
                except OSError:
                    continue
                if needle in environ.split(b"\0"):
                    found.append(int(each))
        return found

    def children(self) -> list[int]:
        """The processes that it has started itself, the sentinel among them."""
        assert self.popen is not None
        found: list[int] = []
        for task in Path(f"/proc/{self.popen.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
        return sorted(found)

    def workers(self) -> list[int]:
        """Those of its children that compute: not the sentinel, and none that has ended and was not asked how."""
        found = []
        for each in self.children():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{each}/cmdline").read_bytes()  # empty once it has ended
                if line and b"sentinel.py" not in line:
                    found.append(each)
        return found

    def left(self) -> list[str]:
        """What lies about that should not: temporary files, shared memory under this run's name."""
        return [str(each) for each in self.tmp.iterdir()]

    def one_error(self) -> str:
        """The one line that a failed command owes."""
        lines = self.stderr.strip().splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.stdout + self.stderr
        return lines[0]


def until(happened: Callable[[], Any], within_s: float) -> bool:
    """Whether it happens within that time, looked at every few milliseconds."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.005)
    return bool(happened())


def limited(limit: int, size: int) -> Callable[[], None]:
    """For `preexec_fn`: a bound of the system's own."""
    return lambda: resource.setrlimit(limit, (size, size))


Make = Callable[..., Run]
