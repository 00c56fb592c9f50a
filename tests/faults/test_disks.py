"""A disk that is full, wherever it is: exit code 4, one line, no file under its final name that is not whole."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from faults.observed import COMMAND, Make, Run, limited, until

pytestmark = pytest.mark.faults

FINAL = ("summary.json", "report.html", "report.md", "junit.xml", "layers.parquet")
SMALL = 192 * 1024  # bytes of a tmpfs that is too small for the thing at hand


def check(run: Run) -> None:
    assert run.code == 4, run.stderr + run.stdout
    run.one_error()
    assert not [name for name in FINAL if (run.out / name).exists()]
    assert not any(each["record"] == "footer" for each in run.records())
    assert not list(run.store.rglob("*.golden"))
    assert until(lambda: not run.mine() and run.left() == [], within_s=2)


@pytest.fixture(scope="module")
def large(workplace: Path) -> list[str | Path]:
    """Arguments that give the tiny model inputs of a megabyte and more, and tensors of as much."""
    path = workplace / "large.onnx"
    import onnx
    from onnx.parser import parse_model

    onnx.save(parse_model(LARGE), path)
    return ["run", "-n", "1", "-m", path, "-b", "subject", "-o", "out"]


LARGE = """
<ir_version: 9, opset_import: ["": 18]>
large (float[1,3,512,512] x) => (float[1,3,512,512] y, float[1,3,512,512] z) {
  y = Relu (x)
  z = Neg (y)
}
"""


@pytest.mark.parametrize("limit", [1 << 16, 1 << 20, 5 << 20], ids=["64 KiB", "1 MiB", "5 MiB"])
def test_a_bound_on_the_size_of_files_is_one_line(make: Make, large: list[str | Path], limit: int) -> None:
    """64 KiB stop what is written first, 1 MiB shared memory for the inputs, 5 MiB the golden."""
    run = make(cache=large[4].parent / f"bounded-{limit}")  # type: ignore[union-attr]
    run.start(*large, preexec_fn=limited(resource.RLIMIT_FSIZE, limit)).finish()

    check(run)


MOUNT = 'mount -t tmpfs -o size={size} tmpfs "$0"'


def with_mounts(place: Path) -> list[str]:
    """What stands before a command that may mount at `place`, seen by nobody else; nothing where that is forbidden."""
    for options in ("-m", "-rm"):
        command = ["unshare", options]
        script = MOUNT.format(size=65536)
        if shutil.which("unshare") and not subprocess.run(
            [*command, "sh", "-c", script, str(place)], capture_output=True
        ).returncode:
            return command
    return []


def in_small_place(run: Run, place: Path, size: int, arguments: list[str | Path]) -> Run:
    """Run with `place` as a tmpfs of `size` bytes; it is gone with the command, so what it held is listed."""
    place.mkdir(parents=True, exist_ok=True)
    script = (
        f'{MOUNT.format(size=size)} && "$@"; code=$?; '
        'find "$0" -type f -size +0 ! -name "*.jsonl" ! -path "*/logs/*" >"$FOUND"; exit $code'
    )
    within = with_mounts(place)
    if not within:
        pytest.skip(
            "neither root nor a user namespace may mount a small tmpfs here:"
            f" NOT TESTED is what happens when the disk below {place.name!r} is full"
        )
    command = [*within, "sh", "-c", script, str(place), *COMMAND, *map(str, arguments)]
    run.env["FOUND"] = str(run.folder / "found")
    done = subprocess.run(command, cwd=run.folder, env=run.env, capture_output=True, text=True, timeout=120)
    run.code, run.stdout, run.stderr = done.returncode, done.stdout, done.stderr
    return run


@pytest.mark.parametrize("what", ["out", "store", "tmp"])
def test_a_full_disk_is_one_line_and_leaves_no_partial_file(
    make: Make, large: list[str | Path], workplace: Path, what: str
) -> None:
    run = make(cache=workplace / ("full" if what == "store" else "large"))
    place = {"out": run.out, "store": run.store, "tmp": run.tmp}[what]
    if what == "tmp":
        big = workplace / "weights.onnx"
        write_with_weights(big)
        large = [big if each == large[4] else each for each in large]
    in_small_place(run, place, 8192 if what == "out" else SMALL, large)

    assert run.code == 4, run.stderr + run.stdout
    run.one_error()
    assert (run.folder / "found").read_text() == ""


def write_with_weights(path: Path) -> None:
    """A model whose copy in a private folder needs more than a small disk has."""
    import onnx
    from onnx.parser import parse_model

    proto = parse_model(LARGE.replace("Relu (x)", "Mul (x, w)"))
    weights = np.random.default_rng(1).standard_normal((1, 3, 512, 512)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(proto, path)


def test_a_tiny_folder_for_shared_memory_does_not_matter(make: Make, large: list[str | Path], workplace: Path) -> None:
    run = in_small_place(make(cache=workplace / "large"), Path("/dev/shm"), 65536, large)

    assert run.code == 0, run.stderr
