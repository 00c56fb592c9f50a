"""The original nn.Module: found, loaded, run, and whatever is wrong with it said in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sysnoise_conform.errors import BadInput, UsageError
from sysnoise_conform.golden.module import load_module, named_outputs, run_module

SOURCE = '''
import torch

NUMBER = 7

def linear():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))

def fails():
    raise RuntimeError("no weights\\x1b[31m here")

def wrong():
    return "a string"

class Holder:
    made = torch.nn.Identity()
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "user_net.py").write_text(SOURCE)
    (tmp_path / "user_needs.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "user_broken.py").write_text("1 / 0\n")
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')\n")
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("user_net", "user_needs", "user_broken"):
        sys.modules.pop(name, None)


def test_a_factory_is_found_in_the_folder_that_was_named_and_nowhere_else(folder: Path) -> None:
    with pytest.raises(UsageError, match="no module 'user_net'"):
        load_module("user_net:linear")
    module = load_module("user_net:linear", search=folder)
    assert not module.training


def test_a_file_in_the_users_folder_shadows_no_package(folder: Path) -> None:
    load_module("user_net:linear", search=folder)
    assert sys.path[-1] == str(folder)


def test_an_attribute_of_an_attribute_and_a_ready_module_will_do(folder: Path) -> None:
    assert isinstance(load_module("user_net:Holder.made", search=folder), torch.nn.Identity)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("user_net", "names no factory; write package.module:factory"),
        (":x", "names no factory"),
        ("user_net:absent", "has no 'absent'; it has linear, fails, wrong"),
        ("user_net:fails", r"user_net:fails\(\) failed: RuntimeError: no weights here"),
        ("user_net:wrong", "returned a str, not a torch.nn.Module"),
        ("user_net:NUMBER", "is a int, not a factory"),
        ("user_needs:x", "imports 'no_such_package_at_all', which is not installed; pip install"),
        ("user_broken:x", "importing user_broken failed: ZeroDivisionError"),
    ],
)
def test_each_mistake_teaches(folder: Path, factory: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_module(factory, search=folder)


def test_weights_come_from_safetensors_and_from_plain_tensors(folder: Path) -> None:
    from safetensors.torch import save_file

    state = {name: tensor + 1 for name, tensor in load_module("user_net:linear", search=folder).state_dict().items()}
    save_file(state, folder / "w.safetensors")
    torch.save(state, folder / "w.pth")
    torch.save({"epoch": 3, "state_dict": state}, folder / "checkpoint.pth")
    for name in ("w.safetensors", "w.pth", "checkpoint.pth"):
        loaded = load_module("user_net:linear", weights=folder / name, search=folder).state_dict()
        assert torch.equal(loaded["0.weight"], state["0.weight"])


def test_a_pickle_is_never_executed(folder: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.write_text, (folder / "executed", "yes"))

    (folder / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"x": Evil()}, folder / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(BadInput):
            load_module("user_net:linear", weights=folder / name, search=folder)
    assert not (folder / "executed").exists()


def test_a_state_dict_that_does_not_fit_names_the_first_keys(folder: Path) -> None:
    torch.save({"module.0.weight": torch.zeros(2, 3), "module.0.bias": torch.zeros(2)}, folder / "w.pth")
    with pytest.raises(BadInput) as caught:
        load_module("user_net:linear", weights=folder / "w.pth", search=folder)
    assert "2 missing (0.weight, 0.bias)" in str(caught.value)
    assert "2 unexpected (module.0.weight, module.0.bias)" in str(caught.value)
    assert "strip the prefix" in str(caught.value)
    torch.save({"0.weight": torch.zeros(2, 9), "0.bias": torch.zeros(2)}, folder / "w.pth")
    with pytest.raises(BadInput, match=r"1 of another shape \(0.weight\)"):
        load_module("user_net:linear", weights=folder / "w.pth", search=folder)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_holds_no_weights_is_bad_input(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BadInput, match=name):
        load_module("user_net:linear", weights=folder / name, search=folder)
    with pytest.raises(BadInput, match="no weights file"):
        load_module("user_net:linear", weights=folder / "absent.pth", search=folder)


class Swapped(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b


def test_feeds_go_by_name_where_forward_has_the_names_and_in_order_where_not() -> None:
    one, two = np.float32([1.0]), np.float32([2.0])
    assert run_module(Swapped(), {"b": one, "a": two}, torch.float32).item() == 1.0
    assert run_module(Swapped(), {"x": one, "y": two}, torch.float32).item() == -1.0


def test_float64_feeds_and_parameters_and_ids_left_alone() -> None:
    module = torch.nn.Embedding(5, 2)
    returned = run_module(module, {"input": np.array([1, 2])}, torch.float64)
    assert returned.dtype is torch.float64


def test_a_forward_that_fails_is_bad_input_with_the_shapes() -> None:
    with pytest.raises(BadInput, match=r"can't run on x \(2, 9\): RuntimeError"):
        run_module(torch.nn.Linear(3, 2), {"x": np.zeros((2, 9), np.float32)}, torch.float32)


def test_outputs_of_other_kinds_are_refused() -> None:
    with pytest.raises(BadInput, match="returns a str"):
        named_outputs("text", ["y"])
    nested = (torch.zeros(1), [torch.ones(2), None])
    found, matched = named_outputs(nested, ["a", "b"])
    assert matched == "order"
    assert found["b"].shape == (2,)
