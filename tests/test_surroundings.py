"""The real command line in surroundings as containers have them."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_files import model, node, port, relu, save

from sysnoise_conform.runner import provenance

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has namespaces")

CONFORM = [sys.executable, "-P", "-c", "from sysnoise_conform.cli import main; main()"]
NOBODY = 54321  # in no table of users


def conform(
    folder: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """`conform run` over ONNX Runtime on `folder`/model.onnx; None in `env` takes a variable away."""
    variables = {**os.environ, "CONFORM_CACHE": str(folder / "cache"), **(env or {})}
    return subprocess.run(
        [*prefix, *CONFORM, "run", "--model", str(folder / "model.onnx"), "--backends", "ort",
         "--out", str(folder / "out"), "--samples", "1", *arguments],
        env={key: value for key, value in variables.items() if value is not None},
        cwd=cwd or folder, capture_output=True, text=True, errors="replace", timeout=200, check=False,
    )  # fmt: skip


def passed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def told(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr + done.stdout
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, relu())
    return tmp_path


def unshared(*flags: str, script: str = "") -> list[str]:
    """A prefix that runs a command in new namespaces, after `script` in them; the test is skipped where none are."""
    tool = shutil.which("unshare")
    if tool is None:
        pytest.skip("unshare is not installed")
    alone = [] if os.geteuid() == 0 else ["--map-root-user"]
    prefix = [tool, *alone, *flags, "sh", "-c", f'{script} exec "$@"', "sh"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"the kernel forbids it: {tried.stderr.strip()}")
    return prefix


def large(folder: Path) -> None:
    """A model whose tensors (24 MB each, 7 of them) do not fit into 64 MB together."""
    shape = (1, 1500, 4096)
    names = ["x", *"abcdef"]
    nodes = [node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    save(folder, model(nodes, [port("x", shape)], [port("f", shape)]))


def test_tensors_beyond_the_64_MB_of_a_container_s_shared_memory_are_carried(folder: Path) -> None:
    large(folder)

    passed(conform(folder, prefix=unshared("-m", script="mount -t tmpfs -o size=64m tmpfs /dev/shm &&")))


def test_no_shared_memory_file_system_is_needed_at_all(folder: Path) -> None:
    large(folder)

    passed(conform(folder, prefix=unshared("-m", script="mount -t tmpfs -o size=4k,ro tmpfs /dev/shm &&")))


def test_nothing_tries_the_network(folder: Path) -> None:
    passed(conform(folder, prefix=unshared("-n")))


def test_a_read_only_home_is_no_obstacle(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    bound = unshared("-m", script=f"mount --bind {home} {home} && mount -o remount,ro,bind {home} &&")

    passed(conform(folder, prefix=bound, env={"HOME": str(home), "CONFORM_CACHE": None}))


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_without_a_home_a_run_keeps_its_goldens_for_itself(home: str | None, folder: Path) -> None:
    passed(conform(folder, env={"HOME": home, "CONFORM_CACHE": None, "XDG_CACHE_HOME": None}))


@pytest.mark.parametrize("home", ["/root", None])
def test_a_user_who_is_not_root_and_has_no_name_can_run_it(home: str | None, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    tool = shutil.which("setpriv")
    if tool is None:
        pytest.skip("setpriv is not installed")
    # root's capabilities outlive setpriv until the next exec: hence the shell
    nobody = [tool, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sh", "-c", 'exec "$@"', "sh"]
    tried = subprocess.run([*nobody, sys.executable, "-c", "import sysnoise_conform"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this installation lies where others may not read")
    place = Path("/tmp" if os.access("/tmp", os.W_OK) else folder) / f"conform-nobody-{os.getpid()}"
    place.mkdir(mode=0o777)
    try:
        place.chmod(0o777)
        shutil.copy(folder / "model.onnx", place)
        passed(conform(place, prefix=nobody, env={"HOME": home, "CONFORM_CACHE": None}))
    finally:
        shutil.rmtree(place)


def test_one_core_is_enough(folder: Path) -> None:
    core = min(os.sched_getaffinity(0))
    tool = shutil.which("taskset")
    if tool is None:
        pytest.skip("taskset is not installed")

    passed(conform(folder, prefix=[tool, "-c", str(core)]))


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("?", 8)]
)
def test_a_quota_of_the_control_group_counts_as_cores(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pod" / "app").mkdir(parents=True)
    (tmp_path / "pod" / "cpu.max").write_text(quota + "\n")
    (tmp_path / "pod" / "app" / "cpu.max").write_text("max 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    assert provenance.usable_cores(tmp_path, group="0::/pod/app\n") == cores
    monkeypatch.setattr(provenance, "usable_cores", lambda: cores)
    assert (provenance.threads_for(0), provenance.threads_for(3)) == (cores if cores < 8 else 0, 3)


def test_a_working_folder_that_is_read_only_is_no_obstacle(folder: Path) -> None:
    place = folder / "cwd"
    place.mkdir()
    bound = unshared("-m", script=f"mount --bind {place} {place} && mount -o remount,ro,bind {place} && cd {place} &&")

    passed(conform(folder, prefix=bound, cwd=place))


def test_a_working_folder_that_is_gone_is_told(folder: Path) -> None:
    (folder / "gone").mkdir()
    left = ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh"]

    done = conform(folder, prefix=left, cwd=folder / "gone")
    assert done.returncode in (0, 4), done.stderr
    assert "Traceback" not in done.stderr


def test_without_any_folder_for_temporary_files_one_line_says_so(folder: Path) -> None:
    place = folder / "cwd"
    place.mkdir()
    shut = "[ ! -d $each ] || { mount --bind $each $each && mount -o remount,ro,bind $each; }"
    prefix = unshared("-m", script=f"for each in /tmp /var/tmp /usr/tmp {place}; do {shut}; done; cd {place} &&")
    out = Path("/dev/shm") / f"conform-{os.getpid()}"  # outside what is shut, wherever the tests themselves lie
    try:
        done = conform(folder, "--out", str(out), prefix=prefix, env={"TMPDIR": None})
    finally:
        shutil.rmtree(out, ignore_errors=True)

    assert "TMPDIR" in told(done, 4)


def test_a_tmpdir_that_is_not_there_falls_back(folder: Path) -> None:
    passed(conform(folder, env={"TMPDIR": str(folder / "absent")}))


def test_a_strict_umask_keeps_the_report_to_its_owner(folder: Path) -> None:
    passed(conform(folder, prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"]))
    assert stat.S_IMODE((folder / "out" / "summary.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(closed: str, folder: Path) -> None:
    done = conform(folder, prefix=["sh", "-c", f'exec "$@" {closed}', "sh"])

    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    "env", [{"LANG": None, "LC_ALL": None, "TERM": None, "PYTHONIOENCODING": "ascii"},
            {"PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "COLUMNS": "1"}],
    ids=["nothing", "posix"],
)  # fmt: skip
def test_a_poor_locale_or_terminal_changes_nothing(env: dict[str, str | None], folder: Path) -> None:
    proto = onnx.load(folder / "model.onnx")
    proto.graph.output[0].name = proto.graph.node[0].output[0] = "größe"
    onnx.save(proto, folder / "model.onnx")

    passed(conform(folder, env=env))


def test_a_reader_that_leaves_early_is_no_fault(folder: Path) -> None:
    done = conform(folder, prefix=["sh", "-c", '"$@" | head -c 1', "sh"])

    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (folder / "out" / "summary.json").exists()


def test_another_system_is_told_that_it_is_another(folder: Path) -> None:
    other = "import sys; sys.platform = 'darwin'; from sysnoise_conform.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", other, "run", "--model", str(folder / "model.onnx"), "--backends", "ort"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert "Linux" in told(done, 2)


def test_a_large_input_travels_whole(folder: Path) -> None:
    large(folder)
    np.save(folder / "x.npy", np.ones((1, 1500, 4096), np.float32))

    passed(conform(folder, "--inputs", str(folder / "x.npy"), "--no-layers"))
