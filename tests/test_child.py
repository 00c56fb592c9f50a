"""Children that crash, hang, eat and flood: each is named by stage and signal, costs itself alone, leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fakes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sysnoise_conform.backend import Build
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import (
    BackendDied,
    BackendUnavailable,
    BadInput,
    ConformError,
    StorageError,
    Unsupported,
    UsageError,
)
from sysnoise_conform.private import PrivateFolder, sweep
from sysnoise_conform.process.child import Child

FEED = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)}
Start = Callable[..., Child]


@pytest.fixture(autouse=True)
def _fakes_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fakes.as_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 8, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="r")], "g", image[:1], image[1:])
    path = tmp_path_factory.mktemp("model") / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children: list[Child] = []

    def begin(label: str = "fake", *, timeout_s: float = 30.0, memory: int | None = None, threads: int = 0) -> Child:
        limits = Limits(timeout_s=timeout_s, memory_bytes=memory, threads=threads)
        children.append(Child.start(limits=limits, log=tmp_path / "logs" / f"{label}.txt", label=label))
        return children[-1]

    yield begin
    for child in children:
        child.close()


def compiled(child: Child, model: Path, backend: str, **options: str) -> Child:
    child.compile(backend, Build(model=model, workdir=child.workdir, options=options))
    return child


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(happened: Callable[[], bool], within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)
    return happened()


def test_a_healthy_child_answers_what_was_asked(start: Start, model: Path) -> None:
    child = start()

    runtime = child.probe("exact")
    effective, seconds = child.compile("exact", Build(model=model, workdir=child.workdir, options={"at": "run"}))
    outputs = child.run(FEED)

    assert runtime.version == onnx.__version__
    assert (effective.precision, effective.options) == ("fp32", {"at": "run"})
    assert np.array_equal(outputs.tensors["y"], np.maximum(FEED["x"], 0))
    assert seconds > 0
    assert outputs.seconds > 0


def test_two_sessions_live_in_one_child(start: Start, model: Path) -> None:
    child = start()
    child.compile("exact", Build(model=model, workdir=child.workdir), session="one")
    child.compile("scaled", Build(model=model, workdir=child.workdir), session="two")

    one = child.run(FEED, session="one").tensors["y"].max()
    two = child.run(FEED, session="two").tensors["y"].max()

    assert (one, two) == (1, np.float32(1.02))
    with pytest.raises(ConformError, match="no session 'three'"):
        child.run(FEED, session="three")


def test_several_runs_in_one_exchange_are_those_runs(start: Start, model: Path) -> None:
    child = compiled(start(), model, "scaled")
    feeds = [{"x": FEED["x"] * number} for number in range(1, 6)]

    together = [each.tensors["y"].copy() for each in child.run_each(feeds)]

    assert child.run_each([]) == []
    for feed, found in zip(feeds, together, strict=True):
        assert np.array_equal(child.run(feed).tensors["y"], found)


def test_a_death_in_one_of_several_runs_is_that_of_the_child(start: Start, model: Path) -> None:
    child = compiled(start(), model, "crashes", at="run")

    with pytest.raises(BackendDied, match="stage run") as caught:
        child.run_each([FEED, FEED])

    assert (caught.value.cause, caught.value.signal) == ("crash", "SIGSEGV")


def test_many_runs_reuse_the_memory(start: Start, model: Path) -> None:
    child = compiled(start(), model, "exact")
    child.run(FEED)
    before = len(os.listdir("/proc/self/fd"))

    for number in range(50):
        assert child.run({"x": FEED["x"] * number}).tensors["y"].max() == number

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("at", ["compile", "run"])
@pytest.mark.parametrize(("backend", "name"), [("crashes", "SIGSEGV"), ("aborts", "SIGABRT"), ("exits", None)])
def test_a_death_is_named_by_stage_and_signal_within_a_second(
    start: Start, model: Path, backend: str, name: str | None, at: str
) -> None:
    child = start(backend)
    child.probe(backend)
    started = time.monotonic()

    with pytest.raises(BackendDied) as death:
        compiled(child, model, backend, at=at).run(FEED)

    assert time.monotonic() - started < 1
    assert (death.value.cause, death.value.stage, death.value.signal) == ("crash", at, name)
    assert str(death.value).count("\n") == 0
    with pytest.raises(BackendDied):  # the dead answer no further question
        child.probe(backend)


def test_a_converter_that_dies_keeps_its_own_stage_and_signal(start: Start, model: Path) -> None:
    with pytest.raises(BackendDied, match="the converter died of SIGSEGV") as death:
        compiled(start(), model, "converter_dies")

    assert (death.value.cause, death.value.stage, death.value.signal) == ("crash", "convert", "SIGSEGV")


def test_a_child_that_was_taken_over_is_ended_and_not_believed(start: Start, model: Path) -> None:
    child = compiled(start(), model, "talks_nonsense")

    with pytest.raises(BackendDied, match="answered nonsense"):
        child.run(FEED)

    assert not running(child.pid)


def test_a_hang_in_native_code_that_holds_pythons_lock_is_ended_in_time(start: Start, model: Path) -> None:
    child = compiled(start("hangs"), model, "hangs")
    started = time.monotonic()

    with pytest.raises(BackendDied, match=r"no answer within 0\.5 s") as death:
        child.call("run", {"session": "main"}, FEED, stage="run", timeout_s=0.5)

    assert time.monotonic() - started < 2
    assert (death.value.cause, death.value.stage) == ("timeout", "run")
    assert not running(child.pid)


def test_a_child_that_eats_its_memory_is_told_so(start: Start, model: Path) -> None:
    child = compiled(start("eats", memory=512 << 20), model, "eats_memory")

    with pytest.raises(BackendDied, match="out of memory") as death:
        child.run(FEED)

    assert (death.value.cause, death.value.stage) == ("memory", "run")
    assert "512 MiB" in str(death.value)
    assert 100 < child.close().peak_rss_mb <= 512


@pytest.mark.parametrize("limit", [1 << 10, 16 << 20, 40 << 20, 128 << 20])
def test_a_child_that_has_too_little_memory_to_start_says_so(start: Start, limit: int) -> None:
    with pytest.raises(BackendDied, match="stage start") as death:
        start(memory=limit).probe("exact")

    assert death.value.cause == "memory"
    assert (death.value.hint or "").startswith("--memory allows it 1 KiB" if limit == 1 << 10 else "--memory allows")


def test_a_session_is_closed_when_its_child_ends_in_peace(start: Start, model: Path, tmp_path: Path) -> None:
    child = compiled(start("closes"), model, "says_goodbye")

    child.run(FEED)
    child.close()

    assert "goodbye" in (tmp_path / "logs" / "closes.txt").read_text()


def test_a_kill_from_outside_reads_as_the_kernels_want_of_memory(start: Start, model: Path) -> None:
    child = compiled(start(), model, "hangs")
    threading.Timer(0.2, os.kill, (child.pid, signal.SIGKILL)).start()

    with pytest.raises(BackendDied) as death:
        child.run(FEED)

    assert (death.value.cause, death.value.signal) == ("memory", "SIGKILL")


def test_a_child_can_be_ended_from_another_thread(start: Start, model: Path) -> None:
    child = compiled(start(), model, "hangs")
    threading.Timer(0.2, child.kill).start()

    with pytest.raises(BackendDied, match="ended by conform") as death:
        child.run(FEED)

    assert death.value.cause == "crash"


def test_the_death_of_one_costs_the_others_nothing(start: Start, model: Path) -> None:
    innocent = [compiled(start(f"innocent {n}"), model, "exact") for n in range(2)]
    for backend in ("crashes", "aborts"):
        with pytest.raises(BackendDied):
            compiled(start(backend), model, backend).run(FEED)

    assert all(child.run(FEED).tensors["y"].max() == 1 for child in innocent)


def test_a_clean_refusal_keeps_its_fields(start: Start, model: Path) -> None:
    child = start()
    with pytest.raises(Unsupported, match="no kernel for Relu") as refusal:
        child.compile("refuses", Build(model=model, workdir=child.workdir))

    assert (refusal.value.stage, refusal.value.node, refusal.value.op) == ("compile", "r", "Relu")


@pytest.mark.parametrize("at", ["compile", "run"])
def test_a_foreign_error_becomes_one_clean_line_of_ours(start: Start, model: Path, at: str, tmp_path: Path) -> None:
    child = start("raises")
    with pytest.raises(Unsupported) as refusal:
        compiled(child, model, "raises", at=at).run(FEED)
    child.close()

    assert refusal.value.stage == at
    assert "\n" not in str(refusal.value)
    assert "\x1b" not in str(refusal.value)
    assert "Traceback" in (tmp_path / "logs" / "raises.txt").read_text()


def test_an_absent_runtime_answers_with_the_cure(start: Start) -> None:
    with pytest.raises(BackendUnavailable) as absent:
        start().probe("absent")

    assert absent.value.hint == "pip install absent"


def test_a_refusal_leaves_the_child_alive(start: Start, model: Path) -> None:
    child = start()
    with pytest.raises(Unsupported):
        child.compile("refuses", Build(model=model, workdir=child.workdir))

    assert compiled(child, model, "exact").run(FEED).tensors["y"].max() == 1


def test_an_input_that_can_not_travel_is_bad_input(start: Start, model: Path) -> None:
    with pytest.raises(BadInput, match="'x'"):
        compiled(start(), model, "exact").run({"x": np.zeros(2, "M8[s]")})


def test_a_flood_is_kept_within_bounds_and_cleaned(start: Start, model: Path, tmp_path: Path) -> None:
    child = compiled(start("floods"), model, "floods_stdout")
    child.run(FEED)
    child.close()

    log = (tmp_path / "logs" / "floods.txt").read_bytes()
    assert len(log) < 1_100_000
    assert log.startswith(b"the beginning red \\x07\n")
    assert b"bytes are not kept" in log
    assert log.endswith(b"the end\n")
    assert b"\x1b" not in log


def test_a_log_that_can_not_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    child = Child.start(limits=Limits(), log=tmp_path / "file" / "log.txt", label="fake")

    with pytest.raises(StorageError, match="can't write the log"):
        child.close()

    child.close()  # it is over all the same


def test_what_a_child_left_running_ends_with_it(start: Start, model: Path, tmp_path: Path) -> None:
    child = compiled(start("lingers"), model, "lingers")
    child.run(FEED)
    child.close()

    left = int((tmp_path / "logs" / "lingers.txt").read_text().split()[-1])
    assert until(lambda: not running(left))


def test_a_child_works_in_an_empty_private_folder_that_goes_with_it(start: Start) -> None:
    child = start()
    folder = Path(child.probe("exact").details["folder"])

    assert list(folder.iterdir()) == []
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    child.close()
    assert not folder.parent.exists()


def test_nothing_beside_a_model_is_imported(
    start: Start, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "onnx", "json", "sitecustomize", "sysnoise_conform"):
        (tmp_path / f"{name}.py").write_text("open('/proc/self/cwd/CANARY', 'w')\nraise SystemExit('canary')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(Path(fakes.__file__).parent)]))

    assert compiled(start(), model, "exact").run(FEED).tensors["y"].max() == 1


def test_a_relative_entry_of_pythonpath_still_means_the_users_folder(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_fake.py").write_text("from fakes import Exact\n\nclass Mine(Exact):\n    name = 'mine'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["mine", str(Path(fakes.__file__).parent)]))
    monkeypatch.setenv("CONFORM_BACKENDS", "mine=my_fake:Mine")

    assert start().probe("mine").name == "mine"


def test_a_backend_in_a_file_is_found_from_any_folder(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(Path(fakes.__file__).read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONFORM_BACKENDS", "mine=mine.py:Exact")

    assert start().probe("mine").name == "exact"


def test_threads_reach_the_runtimes_environment(start: Start) -> None:
    assert start(threads=3).probe("exact").details["threads"] == "3"


def test_a_childs_peak_of_memory_is_its_own_and_not_its_parents(start: Start) -> None:
    fat = np.ones(40_000_000)
    child = start()
    child.probe("exact")

    assert 20 < child.close().peak_rss_mb < fat.nbytes / 2**20


def test_a_child_outlives_the_thread_that_started_it(start: Start) -> None:
    children: list[Child] = []
    thread = threading.Thread(target=lambda: children.append(start()))
    thread.start()
    thread.join()
    time.sleep(0.3)

    assert children[0].probe("exact").name == "exact"


def test_an_interpreter_that_can_not_be_started_is_a_mistake_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    before = set(Path(tempfile.gettempdir()).glob(f"conform-{os.getpid()}-*"))

    with pytest.raises(UsageError, match="can't start the interpreter"):
        Child.start(python=tmp_path / "python", limits=Limits(), log=tmp_path / "log.txt", label="fake")

    assert set(Path(tempfile.gettempdir()).glob(f"conform-{os.getpid()}-*")) == before


def test_an_interpreter_that_is_no_python_is_told_with_its_last_words(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho I am a shell\n")
    python.chmod(0o755)
    with (
        Child.start(python=python, limits=Limits(), log=tmp_path / "log.txt", label="fake") as child,
        pytest.raises(BackendDied, match="I am a shell") as death,
    ):
        child.probe("exact")

    assert death.value.stage == "start"


PARENT = """
import os, sys
from pathlib import Path
from sysnoise_conform.backend import Build
from sysnoise_conform.case import Limits
from sysnoise_conform.process.child import Child

model, log = map(Path, sys.argv[1:])
children = [Child.start(limits=Limits(), log=log / str(n), label="fake") for n in range(2)]
for child in children:
    child.compile("hangs", Build(model=model, workdir=child.workdir))
print(*(child.pid for child in children), *(child.workdir.parent for child in children), flush=True)
children[0].run({})
"""


def sentinels(parent: int) -> list[int]:
    """The numbers of a process's children that run the sentinel's file."""
    numbers = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(each) for each in numbers if b"sentinel.py" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.mark.parametrize("sentinel_dies_too", [False, True])
def test_a_parent_that_is_killed_leaves_no_orphan_and_no_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentinel_dies_too: bool
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(model), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        *first, third, fourth = parent.stdout.readline().split()
        pids, folders = [int(each) for each in first], [Path(third), Path(fourth)]
        assert all(running(each) for each in pids)
        for each in sentinels(parent.pid) if sentinel_dies_too else []:
            os.kill(each, signal.SIGKILL)
        parent.kill()

    assert until(lambda: not any(running(each) for each in pids), within_s=2)
    if sentinel_dies_too:  # then the next run does it
        assert all(each.is_dir() for each in folders)
        assert set(sweep(tmp_path)) == set(folders)
    assert until(lambda: not any(each.exists() for each in folders), within_s=2)


def test_a_grandchild_that_left_its_group_ends_with_its_child(start: Start, model: Path, tmp_path: Path) -> None:
    child = compiled(start("emigrates"), model, "emigrates")
    child.run(FEED)
    left = int(Path(child.workdir / "left").read_text())
    assert running(left)
    child.close()

    assert until(lambda: not running(left))


def test_a_sweep_leaves_the_folders_of_the_living_and_of_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = PrivateFolder.make(("here",))
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept = [tmp_path / "conform-notes-1", tmp_path / f"conform-{os.getppid()}-abc", tmp_path / "conform"]
    for each in kept:
        each.mkdir()
    link = tmp_path / f"conform-{dead.pid}-link"
    link.symlink_to(kept[0])

    assert sweep(tmp_path) == []
    assert all(each.is_dir() for each in [living.path, link, *kept])
    living.remove()


def test_a_parent_that_forgets_to_close_leaves_nothing(model: Path, tmp_path: Path) -> None:
    script = PARENT.replace("children[0].run({})", "del child, children")
    done = subprocess.run(
        [sys.executable, "-c", script, str(model), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    *first, third, fourth = done.stdout.split()
    assert until(lambda: not any(running(int(each)) for each in first))
    assert not Path(third).exists()
    assert not Path(fourth).exists()
