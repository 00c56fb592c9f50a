"""`conform noise` killed by SIGKILL again and again, and whether `--resume` comes to the same report.

Run: python tests/benchmarks/noise_kills.py.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cold import ROOT, conform, environment
from noise_memory import CARD, model, pictures
from section import Figure, Section

TITLE = "A matrix that is killed goes on to the same report"

KILLS = 20
PICTURES = 120
NOISE = "decoder=turbo-fast,colour=bt601-narrow-nv12,resize=opencv-area,resize=pillow-nearest,normalisation"
SCHEMA = json.loads((ROOT / "reports" / "schema" / "noise.json").read_text(encoding="utf-8"))
VOLATILE = {name for name, each in SCHEMA["properties"].items() if each.get("volatile")}

TEXT = """
SIGKILL to the process of `conform` at {kills} places of its work that a seed has drawn, the first before anything was
measured; each run goes on with `--resume`, the last one to its end. {pictures} pictures, ONNX Runtime, {cells} cells,
and their worst levels together. Compared are the bytes of `noise.json` without the fields that its schema marks
`volatile` ({volatile}).
"""


def kept(report: Path) -> tuple[str, int]:
    """What two runs of the same must agree in, and how many cells there are."""
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return json.dumps({name: value for name, value in found.items() if name not in VOLATILE}), len(found["cells"])


def rows(journal: Path) -> int:
    """Results that are in a journal; 0 where there is none yet."""
    try:
        base = sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)
        try:
            return int(base.execute("SELECT COUNT(*) FROM results").fetchone()[0])
        finally:
            base.close()
    except sqlite3.Error:
        return 0


def measure() -> Section:
    """One run as it is, one that is killed again and again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model(folder / "small.onnx")
        (folder / "small.toml").write_text(CARD, encoding="utf-8")
        pictures(folder / "data", PICTURES)

        def command(out: str, *more: str) -> list[str]:
            return conform(
                "noise", "--model", folder / "small.onnx", "--data", folder / "data", "--backends", "ort",
                "--baseline", "ort", "--noise", NOISE, "--out", folder / out, *more,
            )  # fmt: skip

        def start(out: str, *more: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command(out, *more), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

        start("whole").wait()
        wanted, cells = kept(folder / "whole" / "noise.json")
        draw = random.Random(KILLS)
        total = rows(folder / "whole" / "journal.sqlite")
        alive = 0
        for target in [0, *sorted(draw.sample(range(1, total), KILLS - 1))]:
            process = start("killed", "--resume")
            while process.poll() is None and rows(folder / "killed" / "journal.sqlite") < target:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.4) if target == 0 else draw.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            alive += process.wait() == -signal.SIGKILL
        start("killed", "--resume").wait()
        same = kept(folder / "killed" / "noise.json")[0] == wanted
    return Section(
        title=TITLE,
        figures=(
            Figure(what=f"reports that differ after {KILLS} kills", value=int(not same), unit="of 1", target=0),
            Figure(what="kills that found it at work", value=alive, unit=f"of {KILLS}"),
        ),
        text=TEXT.format(
            kills=KILLS, pictures=PICTURES, cells=cells, volatile=", ".join(sorted(VOLATILE))
        ),
    )  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
