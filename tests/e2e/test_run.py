"""The main job on a small network, through the real command line and the real runtimes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import polars
import pytest

from sysnoise_conform.graph.intake import open_model

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes.py"

NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
small (float[1,3,16,16] x) => (float[1,8,16,16] y, float[1,8,1,1] pooled) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r, v)
  y = Sigmoid (d)
  pooled = GlobalAveragePool (y)
}
"""


def fakes(*names: str) -> dict[str, str]:
    """An environment in which these fakes of tests/fakes.py are backends of their own."""
    return {"CONFORM_BACKENDS": ",".join(f"{each}={FAKES}:{CLASSES[each]}" for each in names)}


CONFORM = [sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()"]
CLASSES = {
    "exact": "Exact", "one_ulp_off": "OneUlpOff", "makes_nan": "MakesNaN", "crashes": "Crashes", "hangs": "Hangs",
    "scaled": "Scaled", "missing_output": "MissingOutput", "wrong_shape": "WrongShape", "absent": "Absent",
    "refuses": "Refuses", "bfloat16": "BFloat16", "shows_inside": "ShowsInside",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model(NETWORK)
    rng = np.random.default_rng(7)
    for name, shape in {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 8, 3, 3)}.items():
        values = (rng.standard_normal(shape) / 4).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = tmp_path / "small.onnx"
    onnx.save(proto, path)
    return path


def test_four_real_runtimes_conform_on_a_small_network(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--backends", "ort,openvino,tflite,mnn")

    assert done.code == 0, done.stderr + done.stdout
    assert done.summary["verdict"] == "PASS"
    assert "PASS on synthetic inputs: no evidence for a release" in done.stdout
    for variant in done.summary["variants"]:
        assert variant["status"] == "measured"
        assert {each["name"] for each in variant["outputs"]} == {"y", "pooled"}
        layers = variant["layers"]
        assert layers["observable"] + len(layers["unobservable"]) == layers["total"] == 5


def test_the_report_folder_holds_every_file_that_is_promised(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--backends", "ort")

    names = {each.name for each in done.out.iterdir()}
    assert names == {"report.jsonl", "layers.parquet", "summary.json", "report.html", "report.md", "junit.xml", "logs"}
    table = polars.read_parquet(done.out / "layers.parquet")
    # outputs and layers of one variant; the two outputs stand in both roles
    assert set(table["tensor"]) == {"c", "r", "d", "y", "pooled"}
    records = [json.loads(line)["record"] for line in (done.out / "report.jsonl").read_text().splitlines()]
    assert records[0] == "header"
    assert records[-1] == "footer"


def test_a_second_run_finds_its_golden_and_never_imports_torch(conform, model: Path, tmp_path: Path) -> None:
    env = {"CONFORM_CACHE": str(tmp_path / "cache")}
    cold = conform("run", "--model", model, "--backends", "ort", env=env)
    # A torch that can't be imported: only a run that never tries gets past it.
    (tmp_path / "blocked" / "torch").mkdir(parents=True)
    (tmp_path / "blocked" / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')\n")
    warm = conform("run", "--model", model, "--backends", "ort", env={**env, "PYTHONPATH": str(tmp_path / "blocked")})

    assert (cold.code, warm.code) == (0, 0), warm.stderr
    assert cold.summary["golden"]["source"] == "computed"
    assert warm.summary["golden"]["source"] == "store"
    assert warm.variant("ort")["outputs"] == cold.variant("ort")["outputs"]


def test_bfloat16_by_default_is_called_out(conform, model: Path) -> None:
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512_bf16" not in flags and "amx_bf16" not in flags:
        pytest.skip("this processor has no bfloat16 instructions, so OpenVINO's own choice is float32")
    done = conform("run", "--model", model, "--backends", "openvino:auto,openvino")

    assert done.code == 1
    assert done.variant("openvino")["verdict"] == "PASS"
    auto = done.variant("openvino:auto")
    assert auto["verdict"] == "FAIL"
    assert "bf" in auto["runtime"]["effective_precision"]
    assert "bfloat16" in done.stdout


@pytest.mark.parametrize(
    ("fake", "code", "verdict", "word"),
    [
        ("one_ulp_off", 0, "PASS", "PASS"),
        ("scaled", 1, "FAIL", "scale"),
        ("bfloat16", 1, "FAIL", "bfloat16"),
        ("makes_nan", 1, "FAIL", "NaN"),
        ("wrong_shape", 1, "FAIL", "shape"),
        ("missing_output", 5, "INCONCLUSIVE", "not compared"),
        ("refuses", 5, "INCONCLUSIVE", "refuses"),
        ("crashes", 3, "INCONCLUSIVE", "SIGSEGV"),
        ("absent", 6, "INCONCLUSIVE", "absent"),
    ],
)
def test_each_character_gets_its_verdict_and_exit_code(
    conform, model: Path, fake: str, code: int, verdict: str, word: str
) -> None:
    done = conform("run", "--model", model, "--backends", f"{fake},ort", env=fakes(fake))

    assert done.code == code, done.stdout + done.stderr
    assert done.variant(fake)["verdict"] == verdict
    assert done.variant("ort")["verdict"] == "PASS"
    assert word in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_hang_costs_its_own_cell_and_nothing_else(conform, model: Path) -> None:
    started = time.monotonic()
    done = conform("run", "--model", model, "--backends", "hangs,ort", "--timeout", "4", env=fakes("hangs"))

    assert done.code == 3
    assert done.variant("hangs")["status"] == "crashed"
    assert done.variant("ort")["verdict"] == "PASS"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("watch", ["debug", "outputs"])
def test_a_backend_that_shows_inner_tensors_itself_gets_the_graph_untapped(conform, model: Path, watch: str) -> None:
    variant = f"shows_inside+watch={watch}"
    done = conform("run", "--model", model, "--backends", variant, env=fakes("shows_inside"))

    assert done.code == 0
    assert done.variant(variant)["layers"]["observable"] == 5


def test_a_missing_runtime_is_exit_6_with_the_line_that_brings_it(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--backends", "trt")

    assert done.code == 6
    assert "tensorrt" in done.stdout.lower()
    assert done.summary["verdict"] == "INCONCLUSIVE"


def test_a_measured_failure_is_never_masked_by_a_missing_runtime(conform, model: Path) -> None:
    done = conform("run", "--model", model, "--backends", "trt,scaled", env=fakes("scaled"))

    assert done.code == 1
    assert sorted(done.summary["exit_codes"]) == [1, 6]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backends", "opnvino"], "did you mean 'openvino'"),
        (["--backends", "ort+optt=all"], "did you mean 'opt'"),
        (["--backends", "ort", "--shape", "x=1,3,17,17"], "x"),
        (["--backends", "ort", "--input", "z=1"], "no input 'z'"),
        (["--backends", "ort", "--inputs", "nowhere.npz"], "nowhere.npz"),
        (["--backends", "ort", "--samples", "0"], "samples"),
        (["--backends", "ort", "--policy", "none.toml"], "none.toml"),
        (["--backends", "ort", "--map", "a=b"], "--deployed"),
        (["--backends", "ort", "--weights", "w.pt"], "--torch"),
        (["--backends", "ort", "--torch", "nowhere:factory"], "nowhere"),
        (["--backends", "ort", "--memory", "lots"], "4G"),
        (["--backend", "ort"], "--backend"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(conform, model: Path, arguments: list[str], words: str) -> None:
    done = conform("run", "--model", model, *arguments)

    assert done.code == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
    assert not (done.out / "summary.json").exists()


def test_a_stricter_policy_flips_the_verdict_without_a_backend(conform, model: Path, tmp_path: Path) -> None:
    conform("run", "--model", model, "--backends", "ort")
    strict = tmp_path / "strict.toml"
    strict.write_text("max_floor_ratio = 0.001\nmax_z = 0.0001\n")
    (tmp_path / "blocked" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "blocked" / "onnxruntime" / "__init__.py").write_text("raise SystemExit('a runtime was imported')\n")
    blocked = {"PYTHONPATH": str(tmp_path / "blocked")}

    assert conform("judge", "conform-out", env=blocked).code == 0
    assert conform("judge", "conform-out", "--policy", strict, env=blocked).code == 1


@pytest.mark.parametrize("form", ["terminal", "html", "markdown", "junit", "summary"])
def test_a_report_renders_in_every_form(conform, model: Path, form: str) -> None:
    conform("run", "--model", model, "--backends", "ort")

    done = conform("report", "conform-out", "--format", form)

    assert done.code == 0
    assert "pooled" in done.stdout


def test_a_killed_run_leaves_no_summary_and_no_green_report(model: Path, tmp_path: Path) -> None:
    run = [*CONFORM, "run", "--model", str(model), "--backends", "hangs", "--timeout", "60", "--out", f"{tmp_path}/o"]
    (tmp_path / "o").mkdir()
    env = {**os.environ, **fakes("hangs")}
    process = subprocess.Popen(run, env=env, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "o" / "report.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert not (tmp_path / "o" / "summary.json").exists()
    judged = subprocess.run([*CONFORM, "judge", str(tmp_path / "o")], capture_output=True, text=True)
    assert judged.returncode == 5
    assert judged.stderr.startswith("error: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_at_once_with_130(model: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = [*CONFORM, "run", "--model", str(model), "--backends", "hangs", "--timeout", "60", "--out", f"{tmp_path}/o"]
    env = {**os.environ, **fakes("hangs")}
    process = subprocess.Popen(run, env=env, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "o" / "report.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=30)

    assert process.returncode == 130
    assert time.monotonic() - started < 5
    assert len(stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o" / "summary.json").exists()


def test_input_files_are_never_touched(conform, model: Path) -> None:
    before = (open_model(model).sha256, model.stat().st_mtime_ns)

    conform("run", "--model", model, "--backends", "ort,openvino,tflite,mnn,torch")

    assert (open_model(model).sha256, model.stat().st_mtime_ns) == before


def test_a_deployed_file_is_judged_by_the_original_model(conform, model: Path, tmp_path: Path) -> None:
    shipped = onnx.load(model)
    for each in shipped.graph.initializer:
        if each.name == "v":
            changed = onnx.numpy_helper.to_array(each) * np.float32(1.02)
            each.CopyFrom(onnx.numpy_helper.from_array(changed, "v"))
    for node in shipped.graph.node:  # another tool's names, which --map brings together
        node.output[:] = ["scores" if name == "y" else name for name in node.output]
        node.input[:] = ["scores" if name == "y" else name for name in node.input]
    shipped.graph.output[0].name = "scores"
    path = tmp_path / "shipped.onnx"
    onnx.save(shipped, path)

    done = conform("run", "--model", model, "--backends", "ort", "--deployed", path, "--map", "y=scores")

    assert done.code == 1
    ort = done.variant("ort")
    assert ort["layers"]["first_departure"] == "d"
    assert "1.02" in done.stdout


def test_a_failed_command_leaves_no_former_verdict_behind(conform, model: Path) -> None:
    assert conform("run", "--model", model, "--backends", "ort").code == 0

    failed = conform("run", "--model", "gone.onnx", "--backends", "ort")

    assert failed.code == 2
    assert not (failed.out / "summary.json").exists()
    assert not (failed.out / "report.jsonl").exists()


def test_float32_of_a_float16_model_is_not_what_the_model_is(conform, tmp_path: Path) -> None:
    half = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        half (float16[1,4] x) => (float16[1,4] y) { y = Add (x, x) }
    """)
    onnx.save(half, tmp_path / "half.onnx")

    done = conform("run", "--model", tmp_path / "half.onnx", "--backends", "ort:fp32,ort")

    assert done.code == 5
    assert done.variant("ort:fp32")["status"] == "unsupported"
    assert done.variant("ort")["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--map", "typo=r"], "no tensor of that name"), (["--layout", "typo=NHWC"], "no tensor of that name"),
     (["--map", "y=nowhere"], "no such tensor"), (["--map", "y=c", "--map", "d=c"], "two tensors")],
)
def test_names_of_a_deployed_file_are_checked_on_both_sides(
    conform, model: Path, arguments: list[str], words: str
) -> None:
    done = conform("run", "--model", model, "--backends", "ort", "--deployed", model, *arguments)

    assert done.code == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


def test_a_deployed_file_with_another_interface_is_refused_before_any_run(conform, model: Path, tmp_path: Path) -> None:
    other = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        flat (float[1,4] x) => (float[1,4] y) { y = Relu (x) }
    """)
    onnx.save(other, tmp_path / "flat.onnx")

    done = conform("run", "--model", model, "--backends", "ort", "--deployed", tmp_path / "flat.onnx")

    assert done.code == 2
    assert "FLOAT [1, 4]" in done.stderr


def test_what_was_measured_before_an_interrupt_is_in_the_report(model: Path, tmp_path: Path) -> None:
    run = [*CONFORM, "run", "--model", str(model), "--backends", "hangs,ort", "--out", f"{tmp_path}/o"]
    process = subprocess.Popen(run, env={**os.environ, **fakes("hangs")}, cwd=tmp_path, stderr=subprocess.DEVNULL)
    report = tmp_path / "o" / "report.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (report.exists() and '"outcome"' in report.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)

    records = [json.loads(line) for line in report.read_text().splitlines()]
    assert process.returncode == 130
    assert [each["variant"] for each in records if each["record"] == "outcome"] == ["ort"]
    assert records[-1]["record"] != "footer"


def test_an_output_that_the_golden_cannot_keep_is_named_with_its_reason(conform, tmp_path: Path) -> None:
    strings = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        words (float[2] x) => (string[2] s, float[2] y) {
          s = Cast <to = 8> (x)
          y = Relu (x)
        }
    """)
    onnx.save(strings, tmp_path / "words.onnx")

    done = conform("run", "--model", tmp_path / "words.onnx", "--backends", "ort")

    assert done.code == 5
    assert "STRING" in done.stdout


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_model_that_is_a_folder_is_bad_input(conform, path: str) -> None:
    done = conform("run", "--model", path, "--backends", "ort")

    assert done.code == 2
    assert done.stderr.startswith("error: ")


def test_what_is_no_report_is_bad_input_and_not_an_unfinished_run(conform, model: Path) -> None:
    done = conform("judge", model)

    assert done.code == 2
    assert "is no report" in done.stderr


def test_no_command_prints_the_help_and_a_typo_names_the_command_to_ask(conform) -> None:
    bare, typo = conform(), conform("run", "--backend", "ort")

    assert (bare.code, typo.code) == (2, 2)
    assert "Usage:" in bare.stderr
    assert "run --help'" in typo.stderr
