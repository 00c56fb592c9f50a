"""The store of goldens: what it finds is what was put, within its bound, whoever else is at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sysnoise_conform.errors import StorageError, UsageError
from sysnoise_conform.folders import cache_folder
from sysnoise_conform.store import Store, fingerprint, parse_size
from sysnoise_conform.store.entry import EntryWriter

FLOAT = 1
KEY = "0" * 64


def key(number: int) -> str:
    return f"{number:064x}"


def put(store: Store, name: str, *, elements: int = 100, value: float = 1.0) -> None:
    unfinished = store.reserve()
    with EntryWriter(unfinished) as writer:
        writer.add("y", FLOAT, np.full(elements, value))
        writer.finish({})
    store.commit(unfinished, name).close()


def test_what_is_committed_is_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    put(store, KEY, value=3.0)
    sample = Store.open(tmp_path).find(KEY)
    assert sample is not None
    assert sample["y"].data[7] == 3.0
    assert store.find(key(1)) is None
    assert store.notes == []


def test_a_flipped_bit_is_noticed_said_and_the_entry_is_gone(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    put(store, KEY)
    path = store.folder / f"{KEY}.golden"
    whole = bytearray(path.read_bytes())
    whole[300] ^= 1
    path.write_bytes(whole)
    assert store.find(KEY) is None
    assert "damaged (the checksum of tensor 'y' differs): it is computed anew" in store.notes[0]
    assert not path.exists()


def test_an_unfinished_entry_never_gets_a_final_name(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    unfinished = store.reserve()
    unfinished.write_bytes(b"half")
    with pytest.raises(StorageError):
        store.commit(unfinished, KEY)
    assert list(store.folder.iterdir()) == []


def test_the_least_recently_used_golden_makes_room(tmp_path: Path) -> None:
    before = Store.open(tmp_path)
    for number in range(3):
        put(before, key(number))
        os.utime(before.folder / f"{key(number)}.golden", (number, number))
    size = before.usage().size // 3
    store = Store.open(tmp_path, limit_bytes=3 * size)
    found = store.find(key(0))
    assert found is not None  # now the most recently used
    put(store, key(3))
    kept = {each.stem for each in store.folder.glob("*.golden")}
    assert kept == {key(0), key(2), key(3)}
    assert store.usage().size <= 3 * size


def test_a_run_larger_than_the_bound_keeps_what_fits_and_streams_the_rest(tmp_path: Path) -> None:
    store = Store.open(tmp_path, limit_bytes=3000)
    for number in range(4):  # about 1.2 kB each
        put(store, key(number))
    assert [store.find(key(number)) is not None for number in range(4)] == [True, True, False, False]
    assert len(store.notes) == 1
    assert "streamed, not kept" in store.notes[0]
    assert store.usage().entries == 2


def test_a_streamed_golden_can_be_used_until_it_is_closed(tmp_path: Path) -> None:
    store = Store.open(tmp_path, limit_bytes=10)
    unfinished = store.reserve()
    with EntryWriter(unfinished) as writer:
        writer.add("y", FLOAT, np.full(1000, 2.0))
        writer.finish({})
    sample = store.commit(unfinished, KEY)
    assert sample["y"].data.sum() == 2000.0
    assert list(store.folder.iterdir()) == []


def test_a_cache_that_can_not_be_written_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("not a folder")
    with Store.open(obstacle / "cache") as store:
        put(store, KEY)
        assert store.find(KEY) is not None
        assert "can't be written" in store.notes[0]
        folder = store.folder
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_still_read(tmp_path: Path) -> None:
    put(Store.open(tmp_path), KEY)
    folder = tmp_path / "golden" / "1"
    folder.chmod(0o555)
    with Store.open(tmp_path) as store:
        assert store.find(KEY) is not None
        assert store.temporary
    folder.chmod(0o755)


def test_no_cache_means_a_folder_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))
    with Store.open(enabled=False) as store:
        put(store, KEY)
        assert store.find(KEY) is not None
        folder = store.folder
    assert not folder.exists()
    assert not (tmp_path / "cache").exists()


def test_unfinished_files_of_dead_processes_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    living = Store.open(tmp_path)
    mine = living.reserve()
    script = (
        "import os, pathlib, sys\n"
        "from sysnoise_conform.store import Store\n"
        "print(Store.open(pathlib.Path(sys.argv[1])).reserve(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    dead = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    stray = Path(dead.stdout.strip())
    assert stray.exists()
    Store.open(tmp_path)
    assert not stray.exists()
    assert mine.exists()
    living.close()
    assert not mine.exists()


def test_a_store_of_another_format_is_left_alone_but_counts(tmp_path: Path) -> None:
    other = tmp_path / "golden" / "99"
    other.mkdir(parents=True)
    (other / f"{KEY}.golden").write_bytes(b"x" * 5000)
    store = Store.open(tmp_path)
    assert store.find(KEY) is None
    assert store.notes == []
    assert store.usage().size == 5000


def test_processes_that_write_the_same_keys_at_once_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, numpy as np\n"
        "from sysnoise_conform.store import Store\n"
        "from sysnoise_conform.store.entry import EntryWriter\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), limit_bytes=200_000)\n"
        "for round in range(10):\n"
        "    for number in range(8):\n"
        "        key = f'{number:064x}'\n"
        "        found = store.find(key)\n"
        "        if found is None:\n"
        "            path = store.reserve()\n"
        "            with EntryWriter(path) as writer:\n"
        "                writer.add('y', 1, np.full(5000, float(number)))\n"
        "                writer.finish({})\n"
        "            found = store.commit(path, key)\n"
        "        assert found['y'].data[4999] == number\n"
        "assert not [each for each in store.notes if 'damaged' in each], store.notes\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for each in running:
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said
    assert not list((tmp_path / "golden" / "1").glob("*.tmp"))


@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500_000_000), ("2G", 2_000_000_000), ("1.5 GB", 1_500_000_000), ("0", 0), ("10k", 10_000), ("7", 7)],
)
def test_sizes_are_read_as_written(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["junk", "-1", "1X", "G", "1e9", "10 %", "٣G\x1b[31m"])
def test_a_size_that_is_none_teaches(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE_MAX", text)
    with pytest.raises(UsageError, match="CONFORM_CACHE_MAX") as caught:
        Store.open(tmp_path)
    assert "10G" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORM_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("CONFORM_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/conform")


def test_each_fact_changes_the_key(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    facts = {
        "model_sha256": "m", "feeds_sha256": "f", "threads": 1, "graph_sha256": "", "only": ("a",),
        "torch_version": "2", "golden_source_sha256": "s", "cpu": "c",
    }  # fmt: skip
    other = {**dict.fromkeys(facts, "other"), "threads": 2, "only": ("b",)}
    keys = {store.key(**facts), *(store.key(**{**facts, name: other[name]}) for name in facts)}
    assert len(keys) == 1 + len(facts)
    assert store.key(**facts) == store.key(**facts)


def test_a_key_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from sysnoise_conform.store import Store\n"
        "print(Store.open(pathlib.Path(sys.argv[1])).key(model_sha256='m', feeds_sha256='f', threads=1))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    first, torch_loaded = done.stdout.split()
    assert len(first) == 64
    assert torch_loaded == "False"


def test_the_same_feeds_have_the_same_hash_and_others_another() -> None:
    x = np.arange(6, dtype=np.float32)
    same = fingerprint.feeds_sha256({"a": x, "b": x})
    assert fingerprint.feeds_sha256({"b": x, "a": x}) == same
    assert fingerprint.feeds_sha256({"a": x.reshape(2, 3), "b": x}) != same
    assert fingerprint.feeds_sha256({"a": x.astype(np.float64), "b": x}) != same
    assert fingerprint.feeds_sha256({"a": x[::-1], "b": x}) != same


def test_the_key_of_a_model_depends_on_the_graph_that_binding_leaves(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    from sysnoise_conform.graph.intake import open_model

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "gain", "y")]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "gain"], ["y"])], "g", ports[:2], ports[2:])
    path = tmp_path / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    store = Store.open(tmp_path)
    bound = [open_model(path, bind={"gain": np.full(2, each, np.float32)}) for each in (1, 1, 2)]
    first, same, other = (
        store.key(
            model_sha256=each.sha256, graph_sha256=fingerprint.graph_sha256(each.proto, each.bound_sha256),
            feeds_sha256="0", threads=1,
        )
        for each in bound
    )
    assert first == same
    assert first != other


@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "empty file"])
def test_what_stands_in_an_entrys_place_is_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    with Store.open(tmp_path) as store:
        put(store, key(1))
        place = store.folder / f"{KEY}.golden"
        match kind:
            case "folder":
                place.mkdir()
            case "link":
                place.symlink_to(store.folder / f"{key(1)}.golden")
            case "pipe":
                os.mkfifo(place)
                os.mkfifo(store.folder / "pipe.tmp")
            case _:
                place.touch()

        assert store.find(KEY) is None
        assert "it is computed anew" in store.notes[0]
        put(store, KEY)
    with Store.open(tmp_path) as again:
        assert (again.find(KEY) is None) == (kind == "folder")
