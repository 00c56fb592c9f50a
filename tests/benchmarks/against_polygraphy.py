"""`conform run` against Polygraphy on the same model, every tensor compared: seconds and memory.

Run: python tests/benchmarks/against_polygraphy.py. Polygraphy gets an environment of its own below the cache folder,
made at the first use.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from cold import Side, conform, emptied, environment, in_turns, measured_all, ratio
from memory_peak import peak
from prepared import NODES, Prepared, prepared
from section import Figure, Section, table

from sysnoise_conform.folders import cache_folder

TITLE = "Against Polygraphy"

PINS = ("polygraphy==0.53.6", "onnxruntime==1.31.1", "onnx==1.23.2")
PAIRS = 7
MEMORY_RUNS = 3
BASELINE, LOADED, WARM, COLD = "Polygraphy", "Polygraphy, stored outputs", "conform, warm store", "conform, cold store"

TEXT = f"""
A ResNet-18 of 69 nodes, 224 x 224, BatchNormalizations kept: 33 MB of activations. One synthetic sample on either
side, all 69 tensors compared on either side, every run a cold process on byte-compiled sources; the median of {PAIRS}
rounds in turns, after one that is discarded; a ratio is the median of the rounds' ratios. conform keeps no journal, so
every run executes everything but a stored golden.

What is fair here: Polygraphy's command is `polygraphy run M --onnxrt --onnxrt --onnx-outputs mark all`: two sessions
with all tensors as outputs, one after the other in one process, compared. It is the shortest that Polygraphy can do
to compare all tensors of two runners, and needs no stored reference. conform executes two ONNX Runtime sessions too
(the untouched graph, run twice, and the tapped one), in processes of their own, against PyTorch's float64 and its
float32's rounding; warm reads these from the store and verifies every bit of them, cold computes them. For
information, Polygraphy with one session against outputs that it had saved before (`polygraphy run M --load-outputs`),
which is what it has that comes nearest to a stored golden.

Memory is the peak of the sum of PSS over all processes of a side, sampled every 20 ms by a separate process, the
median of {MEMORY_RUNS} runs that are not the timed ones. Mapped pages of stored goldens stand apart: they are page
cache, which the system takes back when it needs it.
"""


def polygraphy() -> Path:
    """The `polygraphy` command of its own environment, which is made where there is none."""
    folder = cache_folder() / "benchmarks" / "-".join(each.replace("==", "-") for each in PINS)
    command = folder / "bin" / "polygraphy"
    if not command.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--compile", *PINS]
        done = subprocess.run(pip, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise SystemExit(f"can't install {' '.join(PINS)}: {done.stderr.strip()}")
    return command


def compared_all(stdout: str) -> None:
    """Raises where Polygraphy's log does not name every tensor as compared and equal."""
    found = stdout.count("PASSED | Output: ")
    if found != NODES:
        raise SystemExit(f"Polygraphy compared {found} tensors, not {NODES}")


def sides(made: Prepared, command: Path) -> tuple[Side, ...]:
    """The four that take turns."""
    tapped = [str(command), "run", str(made.model), "--onnxrt", "--onnx-outputs", "mark", "all"]
    saved = made.folder / "outputs.json"
    Side(name="saving", command=[*tapped, "--save-outputs", str(saved)], environment=environment()).run()

    def ours(name: str, cache: Path, golden: str) -> Side:
        out = made.folder / golden
        return Side(
            name=name,
            command=conform("run", "--model", made.model, "--backends", "ort", "--samples", "1", "--out", out),
            environment=environment(CONFORM_CACHE=str(cache)),
            prepare=emptied(cache) if golden == "computed" else lambda: None,
            check=measured_all(out, golden, NODES),
        )

    warm = made.folder / "warm"
    filled = ours("filling the store", warm, "computed")
    filled.run()
    return (
        Side(name=BASELINE, command=[*tapped, "--onnxrt"], environment=environment(), check=compared_all),
        ours(WARM, warm, "store"),
        ours(COLD, made.folder / "cold", "computed"),
        Side(
            name=LOADED, command=[*tapped, "--load-outputs", str(saved)], environment=environment(), check=compared_all
        ),
    )


def measure() -> Section:
    """Seconds in turns, then memory."""
    command = polygraphy()
    with prepared(0) as made:
        all_sides = sides(made, command)
        times = in_turns(all_sides, PAIRS)
        peaks = {each.name: peak(each, MEMORY_RUNS) for each in all_sides}
    rows = [
        (
            name, f"{statistics.median(times[name]):.2f} s", f"{ratio(times, name, BASELINE):.2f}",
            f"{peaks[name].rest:.0f} MiB", f"{peaks[name].golden:.0f} MiB", str(peaks[name].processes),
        )
        for name in times
    ]  # fmt: skip
    baseline = peaks[BASELINE].rest
    return Section(
        title=TITLE,
        figures=(
            Figure(what="seconds against Polygraphy, warm store", value=ratio(times, WARM, BASELINE), target=0.5),
            Figure(what="seconds against Polygraphy, cold store", value=ratio(times, COLD, BASELINE), target=1.5),
            Figure(what="memory against Polygraphy, warm store", value=peaks[WARM].rest / baseline, target=1.5),
            Figure(what="memory against Polygraphy, cold store", value=peaks[COLD].rest / baseline),
        ),
        text=f"{TEXT}\n"
        + table(("side", "median", "ratio", "peak memory", "golden pages", "processes at once"), rows),
    )


if __name__ == "__main__":
    sys.stdout.write(measure().markdown() + "\n")
