"""The report: what goes in comes out, and nothing that was cut short or altered is ever taken for whole."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from report_samples import HOSTILE, OUTCOMES, diff, header, measured, names_of

from sysnoise_conform.errors import BadInput, StorageError, TruncatedReport, UsageError
from sysnoise_conform.outcome import Floor, Outcome, Reading, Result, TaskFigure, TensorDiff, Unobservable, Worst
from sysnoise_conform.report import Report, ReportWriter
from sysnoise_conform.report.folder import REPORT, atomic_write, storage_errors


def write(folder: Path, *results: Result, names: tuple[str, ...] = ("a", "b")) -> Path:
    with ReportWriter(folder) as writer:
        writer.header({**header(list(names)), "variants": [each.variant for each in results]})
        for each in results:
            writer.result(each)
        writer.footer({"seconds": 1.5, "golden": {"torch": "2.13.0", "cached": 3}})
    return folder / REPORT


@pytest.fixture
def report(tmp_path: Path) -> Path:
    results = [Result(variant="ort", outcome=measured(names_of(6)), log="logs/00-ort.txt")]
    return write(tmp_path / "out", *results, *(Result(variant=name, outcome=each) for name, each in OUTCOMES.items()))


def test_every_outcome_comes_back_as_it_went_in(tmp_path: Path) -> None:
    outcomes: dict[str, Outcome] = {"ort": measured(names_of(12)), **OUTCOMES}
    results = tuple(Result(variant=name, outcome=each, log="logs/x.txt") for name, each in outcomes.items())

    back = Report.read(write(tmp_path / "out", *results))

    assert back.results == results
    assert back.footer["results"] == len(results)


def test_every_fact_of_a_tensor_comes_back(tmp_path: Path) -> None:
    full = TensorDiff(
        name="y", dtype="FLOAT", shape=(1, 2, 3), samples=2, n=12, finite=10, sum_sq_err=0.5, max_abs=0.25,
        sum_quad_err=0.125, sum_quad_golden=32.0,
        worst=Worst(sample=1, index=(0, 1, 2), golden=1.5, got=1.75), sum_golden=-1.0, sum_got=-1.5,
        sum_sq_golden=8.0, sum_sq_got=9.0, dot=8.5, max_golden=2.0, mismatches=7, nan_golden=1, nan_got=2,
        nan_mismatch=1, first_nonfinite=(1, 0, 0, 1), ulp_histogram={-3: 2, 80: 5},
        floor=Floor(
            n=12, sum_sq=1e-12, sum_quad=1e-25, max_abs=1e-6, rounding_sum_sq=2e-13, rounding_max=1e-7, mismatches=1,
            shapes_differ=True, sigma_sq=3e-12,
        ),
        readings=(Reading(kind="scale", residual=0.01, value="1.02"),),
    )  # fmt: skip
    other = TensorDiff(name="z", dtype="INT64", shape=(), shape_got=(1,), dtype_got="INT32", samples=1)
    lost = (Unobservable(tensor="pairs", why="the golden keeps no sequence"),)
    tasks = (TaskFigure(name="top1_flips", value=1, of=8),)
    outcome = measured(names_of(3), outputs=(full, other), missing_outputs=lost, tasks=tasks)

    back = Report.read(write(tmp_path / "out", Result(variant="ort", outcome=outcome)))

    assert back.results[0].outcome == outcome


def test_what_is_known_at_the_end_stands_in_the_header_that_is_read(report: Path) -> None:
    assert Report.read(report).header["golden"] == {"torch": "2.13.0", "cached": 3}


def test_a_folder_and_its_file_read_the_same(report: Path) -> None:
    assert Report.read(report.parent) == Report.read(report)


def test_what_is_not_finite_is_null_and_reads_back_as_infinite(tmp_path: Path) -> None:
    odd = diff("y", sum_sq_err=math.inf, dot=math.nan, max_abs=math.inf)

    path = write(tmp_path / "out", Result(variant="ort", outcome=measured(["y"], outputs=(odd,), layers=())))

    assert b"NaN" not in path.read_bytes()
    assert b"Infinity" not in path.read_bytes()
    back = Report.read(path).results[0].outcome.outputs[0]  # type: ignore[union-attr]
    assert back.sum_sq_err == math.inf
    assert back.max_abs == math.inf


def test_hostile_names_come_back_and_steer_no_terminal(tmp_path: Path) -> None:
    names = [*HOSTILE] if not isinstance(HOSTILE, str) else [HOSTILE]
    outcome = measured([*names, "\ud800 lone surrogate", "\x1b[31mred\u202e"])

    path = write(tmp_path / "out", Result(variant="ort", outcome=outcome))

    assert Report.read(path).results[0].outcome == outcome
    assert not set(path.read_bytes()) & {*range(0x20), 0x7F} - {0x0A}
    assert sorted(each.name for each in path.parent.iterdir()) == [REPORT]


def test_the_same_facts_give_the_same_bytes(tmp_path: Path) -> None:
    result = Result(variant="ort", outcome=measured(names_of(6)))

    assert write(tmp_path / "a", result).read_bytes() == write(tmp_path / "b", result).read_bytes()


def test_any_cut_makes_a_report_truncated(report: Path) -> None:
    content = report.read_bytes()
    cuts = {0, 1, content.index(b"\n"), content.index(b"\n") + 1, content.rindex(b"\n", 0, -1) + 1, len(content) - 1}

    for cut in cuts | set(random.Random(0).sample(range(len(content)), 50)):
        with pytest.raises(TruncatedReport):
            Report.parse(content[:cut])


def test_every_single_flipped_bit_is_noticed(report: Path) -> None:
    content = report.read_bytes()
    draw = random.Random(1)
    footer = content.rindex(b"\n", 0, -1)
    places = [draw.randrange(len(content)) for _ in range(200)] + [
        draw.randrange(footer, len(content)) for _ in range(100)
    ]

    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        with pytest.raises(TruncatedReport):
            Report.parse(bytes(flipped))


def test_lines_taken_out_or_added_are_noticed(report: Path) -> None:
    lines = report.read_bytes().splitlines(keepends=True)

    for altered in (lines[:1] + lines[2:], [*lines, lines[-1]], [*lines[:-1], lines[1], lines[-1]], [*lines, b"\n"]):
        with pytest.raises(TruncatedReport):
            Report.parse(b"".join(altered))


def test_a_run_that_ended_early_has_no_readable_report(tmp_path: Path) -> None:
    with ReportWriter(tmp_path) as writer:
        writer.header(header(["a"]))
        writer.result(Result(variant="ort", outcome=measured(["a"])))

    with pytest.raises(TruncatedReport, match="did not come to its end"):
        Report.read(tmp_path)


def test_a_result_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with ReportWriter(tmp_path) as writer:
        writer.header(header(["a"]))
        writer.result(Result(variant="ort", outcome=measured(["a"])))

        last = (tmp_path / REPORT).read_bytes().splitlines()[-1]

    assert json.loads(last)["outcome"] == "Measured"


def test_no_report_is_a_mistake_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="conform run"):
        Report.read(tmp_path)


def test_a_report_of_another_schema_is_refused_by_name(report: Path) -> None:
    lines = report.read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    first["schema"] = "conform.report/9"

    with pytest.raises(BadInput, match=r"conform\.report/9"):
        Report.parse(_sealed([json.dumps(first).encode() + b"\n", *lines[1:-1]]))


def test_a_report_with_facts_missing_is_no_traceback(report: Path) -> None:
    lines = report.read_bytes().splitlines(keepends=True)
    for index in range(1, len(lines) - 1):
        record = json.loads(lines[index])
        record.pop("diff", None)
        record.pop("facts", None)
        with pytest.raises(TruncatedReport):
            Report.parse(_sealed([*lines[:index], json.dumps(record).encode() + b"\n", *lines[index + 1 : -1]]))


def _sealed(lines: list[bytes]) -> bytes:
    """Lines with a footer that is right for them."""
    body = {
        "record": "footer", "results": 1, "lines": len(lines),
        "sha256": hashlib.sha256(b"".join(lines)).hexdigest(),
    }  # fmt: skip

    def line(value: dict[str, object]) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    return b"".join(lines) + line({**body, "check": hashlib.sha256(line(body)).hexdigest()})


def test_a_new_run_removes_what_the_former_one_left(report: Path) -> None:
    folder = report.parent
    (folder / "logs").mkdir()
    left = ["summary.json", "report.html", "junit.xml", "layers.parquet", "logs/ort.txt", "logs/golden.txt",
            "logs/ort-layers-1.txt", "logs/ort-2-layers-3.txt", ".summary.json.tmp", "summary.json.tmp"]  # fmt: skip
    for name in left:
        (folder / name).write_text("former")

    ReportWriter(folder)

    assert list(folder.iterdir()) == []


def test_a_strangers_files_are_left_alone(report: Path) -> None:
    folder = report.parent
    (folder / "logs").mkdir()
    mine = ["notes.md", "logs/notes.txt", "model.onnx", "logs/ort.txt.bak", "logs/ort-notes.txt"]
    for name in mine:
        (folder / name).write_text("mine")

    ReportWriter(folder)

    assert all((folder / name).read_text() == "mine" for name in mine)


@pytest.mark.parametrize("name", ["report.html", "summary.json", "report.jsonl", "junit.xml"])
def test_a_folder_with_a_strangers_file_of_our_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("somebody else's")

    with pytest.raises(UsageError, match="--out"):
        ReportWriter(tmp_path)

    assert (tmp_path / name).read_text() == "somebody else's"


def test_a_former_run_that_was_cut_short_is_cleared_too(tmp_path: Path) -> None:
    with ReportWriter(tmp_path) as writer:
        writer.header(header(["a"]))
    (tmp_path / ".report.jsonl.tmp").write_text("")

    assert Report.read(write(tmp_path, Result(variant="ort", outcome=measured(["a"])))).results


def test_a_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / REPORT).symlink_to(victim)

    with pytest.raises(UsageError):
        ReportWriter(tmp_path / "out")

    assert victim.read_text() == "precious"


def test_an_out_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")

    with pytest.raises(StorageError, match="--out"):
        ReportWriter(tmp_path / "out")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "see who may write there"),
        (errno.ENOENT, "is not there, or went away"),
        (errno.EROFS, "can only be read"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.EIO, "choose another --out"),
    ],
)
def test_each_refusal_of_the_system_has_the_hint_that_helps(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path):
        raise OSError(number, os.strerror(number))

    assert words in (caught.value.hint or "")


def test_an_atomic_write_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    atomic_write(file, "old")
    atomic_write(file, "new \ud800")

    assert file.read_text() == "new \\ud800"
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from sysnoise_conform.errors import StorageError
from sysnoise_conform.report.folder import atomic_write
from sysnoise_conform.report import ReportWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
folder = Path(sys.argv[1])
try:
    atomic_write(folder / "summary.json", "x" * 100_000)
except StorageError as err:
    print(err.exit_code, err)
try:
    with ReportWriter(folder / "out") as writer:
        writer.header({"layers": ["x" * 1000] * 100})
except StorageError as err:
    print(err.exit_code, err)
"""


def test_a_full_disk_is_exit_code_4_and_leaves_no_stump_under_a_final_name(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, tmp_path], capture_output=True, text=True, check=True)

    assert [line[:2] for line in done.stdout.splitlines()] == ["4 ", "4 "]
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "out" / REPORT).exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
