"""The pages for people hold: their commands run as they stand, their examples load, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import typer
from PIL import Image

from sysnoise_conform.card import load_card
from sysnoise_conform.cli import app
from sysnoise_conform.environments import interpreter
from sysnoise_conform.judge.policy import default_toml, parse_policy
from sysnoise_conform.variant import parse_variants

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "backends" / "README.md")

# Commands that the pages show and that are not run here, by how they begin. Nothing else is left out.
NOT_RUN = {
    "conform bench table2 --model lite0.onnx --data imagenet/": "needs ImageNet; e2e/test_bench.py runs it on pictures",
    "conform bench table2 table3 fig3 --member all": "the same",
    "pip install ": "downloads packages",
    "python -m sysnoise_conform.harness.lm_eval ": "needs lm-eval and the network; harness/test_lm_eval.py has it",
    "make ": "is this very test suite, or what continuous integration runs beside it",
    "conform env create ": "downloads packages; test_environments.py makes an environment",
    "python -m pytest tests/contract/": "test_backends_readme.py runs it",
}
# Exit codes other than 0 that the text around a command implies.
EXIT_CODES = {
    "conform zoo export resnet-18 --out resnet-18.onnx": ((0, 2), "2 where its weights are not here"),
    "conform zoo export retinanet-resnet50 --random-weights --shape x=1,3,256,256": (
        (0, 2), "2 where torchvision is not installed",
    ),
    "conform backends trt": ((0, 6), "6 where TensorRT is missing, as the line above it says"),
    "conform run --model det.onnx --backends openvino:auto --inputs photos/ --card det.toml --samples 8": (
        (0, 1), "1 on a processor with bfloat16, which OpenVINO then takes by itself: that is what it shows",
    ),
    "conform diagnose --model det.onnx --backend openvino:auto": ((0, 1), "the same"),
    "conform run --model det.onnx --backends torch,torch+u8s8=saturate,torch+operands=tf32": (
        (1,), "1 because TF32's operands are beyond float32's limits: that is what it shows",
    ),
    "conform diagnose --model det.onnx --backend openvino:auto --prove": ((0, 1), "the same"),
    "conform noise --model det.onnx --data photos/ --task agree --backends ort --noise decoder,resize": (
        (1, 5), "eight pictures of random numbers: every answer turns on a pixel, and they are too few for a PASS",
    ),
    "conform noise --model det.onnx --data photos/ --task agree --backends ort --noise ceil_mode,upsample=linear": (
        (5,), "eight pictures are too few for a PASS",
    ),
    "conform noise --model tiny-cls/tiny-cls.onnx --data tiny-cls/held-out --backends ort"
    " --noise resize=pillow-nearest --samples 40": (
        (1, 5), "a resize that takes single pixels costs this model every fourth answer: that is what it shows",
    ),
    "conform noise --model tiny-lm/tiny-lm.onnx --data tiny-lm/held-out/piqa --backends ort,ort:fp16 --noise precision"
    " --samples 40": ((1, 5), "forty questions are too few for a PASS"),
    "conform noise --model tiny-tts/tiny-tts.onnx --data tiny-tts/held-out --backends ort --noise precision,stft"
    " --samples 16": ((0, 1, 5), "16 sentences may be too few for a PASS"),
    "conform run --model det.onnx --backends ort:int8 --preset all --calibration photos/ --keep-fp32 s": (
        (0, 1), "1 where ONNX Runtime has no integer kernel for a preset, which is what it shows",
    ),
    (
        "conform run --model det.onnx --backends ort:fp16,ort:int8,openvino:int8,tflite:int8,ort --calibration photos/"
    ): ((1,), "1 because LiteRT runs the graph's convolutions in float: that is what it shows"),
    (
        "conform run --model det.onnx --backends "
        "ort:fp16,ort:int8,openvino:int8+preset=tensorrt,tflite:int8+observer=entropy"
    ): ((1,), "1 because LiteRT runs the graph's convolutions in float: that is what it shows"),
}  # fmt: skip

# Groups that do something without a command behind them.
ALONE = tuple(
    f"conform {each.name}"
    for each in app.registered_groups
    if each.typer_instance and (called := each.typer_instance.registered_callback)
    and called.invoke_without_command is True
)

NETWORK = """
<ir_version: 9, opset_import: ["": 18]>
det (float[1,3,H,W] images) => (float[1,1,H,W] scores) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (images, w)
  r = Relu (c)
  s = Conv <kernel_shape = [1, 1]> (r, v)
  scores = Sigmoid (s)
}
"""
CARD = 'task = "text-detect"\nthreshold = 0.5\n[image]\nresize = "squash"\nsize = 16\n'
MODULE = """
import torch

def resnet():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, 4), torch.nn.ReLU())
"""


@dataclass(frozen=True)
class Script:
    """Commands that belong together, and the exports that stand before them."""

    where: str
    commands: tuple[str, ...]


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The line number and the text of each fenced block, without the indentation of a list around it."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        indent = found[1]
        lines = [line.removeprefix(indent) for line in found[2].splitlines()]
        yield text.count("\n", 0, found.start()) + 1, "\n".join(lines)


def commands_of(block: str) -> tuple[str, ...]:
    """One entry per command: continued lines joined, comments and blank lines gone."""
    joined = block.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in joined.splitlines())
    return tuple(" ".join(line.split()) for line in lines if line)


def scripts_of_pages() -> list[Script]:
    return [
        Script(f"{page.relative_to(ROOT)}:{number}", commands_of(block))
        for page in PAGES
        for number, block in blocks(page, "sh")
    ]


def scripts_of_help() -> list[Script]:
    """The examples in the text that each command prints with --help, and those of continuous integration."""
    found = []
    for name, text in help_texts().items():
        _, _, examples = text.partition("Example")
        commands = tuple(line.removeprefix("s:").removeprefix(":").strip() for line in examples.splitlines())
        found += [Script(f"{name} --help", (each,)) for each in commands if each.startswith("conform ")]
    return found


def scripts_of_ci() -> list[Script]:
    steps = [
        re.sub(r"^(- )?run: ", "", line.strip())
        for page in PAGES
        for _, block in blocks(page, "yaml")
        for line in block.splitlines()
        if "run: " in line
    ]
    return [Script("the steps in CI", tuple(steps))]


def tree() -> dict[str, typer.core.TyperCommand]:
    """Every command by its full name."""
    root = typer.main.get_command(app)
    found = {}
    for name, command in root.commands.items():
        for inner, sub in getattr(command, "commands", {"": command}).items():
            found[f"conform {name} {inner}".strip()] = sub
    return found


def help_texts() -> dict[str, str]:
    root = typer.main.get_command(app)
    return {"conform": root.epilog or "", **{name: each.help or "" for name, each in tree().items()}}


def runnable(script: Script) -> Script:
    kept = tuple(each for each in script.commands if not any(map(each.startswith, NOT_RUN)))
    return Script(script.where, kept)


def scripts() -> list[Script]:
    """All of them, each once however often it is shown."""
    found = map(runnable, [*scripts_of_pages(), *scripts_of_help(), *scripts_of_ci()])
    return list({each.commands: each for each in found if each.commands}.values())


SCRIPTS = scripts()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted, around a network so small that every command is quick."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(5)
    model = onnx.parser.parse_model(NETWORK)
    for name, shape in {"w": (4, 3, 3, 3), "v": (1, 4, 1, 1)}.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, folder / "det.onnx")
    (folder / "det.toml").write_text(CARD + "[shapes]\nimages = [1, 3, 16, 16]\n")
    for name in ("photographs", "photos"):
        (folder / name).mkdir()
        for number in range(8):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "samples").mkdir()
    np.savez(folder / "samples" / "one.npz", images=rng.random((1, 3, 16, 16), dtype=np.float32))
    for name in ("conform.toml", "strict.toml"):
        (folder / name).write_text(default_toml())
    (folder / "my_package").mkdir()
    (folder / "my_package" / "nets.py").write_text(MODULE)
    _, example = next(blocks(ROOT / "backends" / "README.md", "python"))
    (folder / "reference.py").write_text(example + "\n")
    program = folder / "bin" / "conform"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -c "from sysnoise_conform.cli import main; main()" "$@"\n'
    )
    program.chmod(0o755)
    done = shell("conform run --model det.onnx --backends ort", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "CONFORM_CACHE": str(folder / "cache"),
        "GITHUB_STEP_SUMMARY": str(folder / "step-summary.md"),
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: f"{each.where}: {each.commands[0]}"[:80])
def test_the_commands_run_as_they_stand(script: Script, workplace: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(workplace, tmp_path / "copy")
    exports = ""
    for command in script.commands:
        if command.startswith("export "):
            exports += f"{command}\n"
            continue
        done = shell(exports + command, folder)
        codes, _ = EXIT_CODES.get(command, ((0,), ""))
        assert done.returncode in codes, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr


def test_only_conform_itself_is_run_and_every_exception_is_still_needed() -> None:
    shown = [each for script in [*scripts_of_pages(), *scripts_of_help()] for each in script.commands]
    run = [each for script in SCRIPTS for each in script.commands]
    assert {each.split()[0] for each in run} == {"conform", "export"}
    assert all(any(each.startswith(begin) for each in shown) for begin in NOT_RUN)
    assert set(EXIT_CODES) <= set(run)


def test_every_command_shows_an_example() -> None:
    shown = {script.where for script in scripts_of_help()}
    assert shown == {f"{name} --help" for name in ("conform", *tree())}


def inline(page: Path) -> list[str]:
    """The code spans in running text and tables; a span may go over the end of a line."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", text)]


def options_of(command: typer.core.TyperCommand) -> set[str]:
    return {"--help", *(option for each in command.params for option in (*each.opts, *each.secondary_opts))}


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.relative_to(ROOT)))
def test_the_commands_and_options_in_running_text_exist(page: Path) -> None:
    commands = tree()
    known = {"--version", *(option for each in commands.values() for option in options_of(each))}
    for span in inline(page):
        words = span.split()
        if words[0] == "conform" and len(words) > 1 and not words[1].startswith("-"):
            if span in ALONE:
                continue
            name = next((each for each in commands if f"{span} ".startswith(f"{each} ")), None)
            assert name is not None, span
            given = {each.split("=")[0] for each in words if each.startswith("-")}
            assert given <= options_of(commands[name]), span
        elif words[0].startswith("--"):
            assert words[0].split("=")[0] in known, span


def as_config(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows is understood; the interpreter that it names is put in its place, as that of nobody."""
    shown = tomllib.loads(text)["env"]["python"]["tflite"]
    (folder / "config.toml").write_text(text.replace(shown, sys.executable))
    monkeypatch.setenv("CONFORM_CONFIG", str(folder / "config.toml"))
    (variant,) = parse_variants("tflite")
    assert str(interpreter(variant)) == sys.executable


def as_policy(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_policy(text, name="the page").deviations


def as_card(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "card.toml").write_text(text)
    card = load_card(folder / "card.toml")
    assert (card.image or card.text or card.speech) is not None


def as_entry_point(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tomllib.loads(text)["project"]["entry-points"]["sysnoise_conform.backends"]


TOML: dict[str, Callable[[str, Path, pytest.MonkeyPatch], None]] = {
    "docs/environments.md": as_config,
    "docs/reading-a-report.md": as_policy,
    "docs/inputs.md": as_card,
    "docs/tasks.md": as_card,
    "docs/language-and-speech.md": as_card,
    "backends/README.md": as_entry_point,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.relative_to(ROOT)))
def test_the_toml_on_a_page_is_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, block in blocks(page, "toml"):
        TOML[str(page.relative_to(ROOT))](block, tmp_path, monkeypatch)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda each: str(each.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_reached_from_the_first_one() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    unreached = [each.name for each in PAGES[1:] if str(each.relative_to(ROOT)) not in text]
    assert unreached == []
