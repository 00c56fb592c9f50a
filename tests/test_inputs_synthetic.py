from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto
from onnx_files import model, node, port, relu, save, stored

from sysnoise_conform.card import Card, ImageInput
from sysnoise_conform.errors import BadInput
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.inputs import Samples, load_samples


def made(
    tmp_path: Path, proto, *, card: Card | None = None, samples: int | None = None, seed: int = 0, shapes=None
) -> Samples:
    opened = open_model(save(tmp_path, proto))
    return load_samples(opened, inputs=None, card=card, samples=samples, seed=seed, shapes=shapes or {})


def test_four_samples_come_from_the_seed_alone(tmp_path: Path) -> None:
    first, again, other = (made(tmp_path, relu(), seed=seed) for seed in (0, 0, 1))

    assert (first.kind, len(first)) == ("synthetic", 4)
    assert np.array_equal(first.feed(2)["x"], again.feed(2)["x"])
    assert not np.array_equal(first.feed(2)["x"], first.feed(1)["x"])
    assert first.sha256 == again.sha256 != other.sha256


@pytest.mark.parametrize(
    "elem_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16]
)
def test_floats_are_normal_in_the_input_s_own_type(tmp_path: Path, elem_type: int) -> None:
    x = made(tmp_path, relu(shape=(1, 4000), elem_type=elem_type)).feed(0)["x"].astype(np.float64)

    assert abs(x.mean()) < 0.1
    assert abs(x.std() - 1) < 0.1


def test_images_have_a_1_over_f_spectrum_between_0_and_1(tmp_path: Path) -> None:
    for shape, axes in (((1, 3, 64, 64), (2, 3)), ((1, 64, 64, 3), (1, 2))):
        x = made(tmp_path, relu(shape=shape)).feed(0)["x"]
        spectrum = np.abs(np.fft.fft2(x, axes=axes))
        low = np.take(np.take(spectrum, 2, axes[1]), 0, axes[0]).mean()
        high = np.take(np.take(spectrum, 30, axes[1]), 0, axes[0]).mean()

        assert x.min() >= 0
        assert x.max() <= 1
        assert low > 4 * high


def test_images_are_scaled_as_the_card_says(tmp_path: Path) -> None:
    card = Card(name="c", image=ImageInput(scale=1.0, mean=(127.0,), std=(128.0,)))

    x = made(tmp_path, relu(shape=(1, 3, 32, 32)), card=card).feed(0)["x"]

    assert x.min() < -0.3
    assert x.max() > 0.3


def test_bytes_of_an_image_are_pixels(tmp_path: Path) -> None:
    proto = model([node("Cast", ["x"], ["y"], to=1)], [port("x", (1, 32, 32, 3), TensorProto.UINT8)], [port("y", None)])

    x = made(tmp_path, proto).feed(0)["x"]

    assert x.dtype == np.uint8
    assert x.max() > 150


def test_ids_stay_inside_the_embedding_that_they_reach(tmp_path: Path) -> None:
    nodes = [node("Cast", ["ids"], ["wide"], to=TensorProto.INT64), node("Unsqueeze", ["wide", "axis"], ["flat"]),
             node("DequantizeLinear", ["table8", "scale"], ["table"]), node("Gather", ["table", "flat"], ["a"]),
             node("Gather", ["kinds", "segment"], ["b"]), node("Add", ["a", "b"], ["y"])]  # fmt: skip
    inputs = [port("ids", (1, 500), TensorProto.INT32), port("segment", (1, 1, 500), TensorProto.INT64)]
    tables = [stored("axis", [0], np.int64), stored("table8", np.zeros((37, 8)), np.int8), stored("scale", 1.0),
              stored("kinds", np.zeros((2, 8)))]  # fmt: skip

    feed = made(tmp_path, model(nodes, inputs, [port("y", None)], tables)).feed(0)

    assert feed["ids"].dtype == np.int32
    assert set(np.unique(feed["ids"])) <= set(range(37))
    assert feed["ids"].max() > 30
    assert set(np.unique(feed["segment"])) == {0, 1}


def test_masks_are_ones_and_then_zeros_and_never_all_zeros(tmp_path: Path) -> None:
    nodes = [node("Cast", ["attention_mask"], ["m"], to=1), node("Where", ["keep", "m", "m"], ["y"])]
    inputs = [port("attention_mask", (8, 16), TensorProto.INT64), port("keep", (8, 16), TensorProto.BOOL)]

    feed = made(tmp_path, model(nodes, inputs, [port("y", (8, 16))])).feed(0)

    for mask in feed.values():
        steps = np.diff(mask.astype(int), axis=1)
        assert (mask[:, :8] == 1).all()
        assert (steps <= 0).all()
        assert steps.min() == -1


def test_scalars_and_integers_of_unknown_meaning_are_made_and_noted(tmp_path: Path) -> None:
    proto = model(
        [node("Add", ["n", "n"], ["y"])], [port("n", (), TensorProto.INT64)], [port("y", (), TensorProto.INT64)]
    )

    samples = made(tmp_path, proto)

    assert samples.feed(0)["n"].shape == ()
    assert "unknown meaning" in samples.notes[0]


def test_what_can_t_be_made_up_is_told(tmp_path: Path) -> None:
    texts = model(
        [node("Identity", ["x"], ["y"])], [port("x", (1,), TensorProto.STRING)], [port("y", (1,), TensorProto.STRING)]
    )

    with pytest.raises(BadInput, match="give --inputs"):
        made(tmp_path, texts)
    with pytest.raises(BadInput, match="--shape x=1,3,224,224"):
        made(tmp_path, convolves(("n", 3, "h", "w")))
    with pytest.raises(BadInput, match="elements"):
        made(tmp_path, relu(shape=("n",)), shapes={"x": (1 << 40,)})
    with pytest.raises(BadInput, match="compare nothing"):
        made(tmp_path, relu(), samples=0)
    with pytest.raises(BadInput, match="no input"):
        made(tmp_path, relu(), shapes={"z": (1,)})


def test_a_card_fixes_the_sizes_that_the_command_line_does_not(tmp_path: Path) -> None:
    card = Card(name="c", shapes={"x": (1, 3, 32, 32), "elsewhere": (9,)})
    proto = relu(shape=("n", 3, "h", "w"))

    assert made(tmp_path, proto, card=card).feed(0)["x"].shape == (1, 3, 32, 32)
    assert made(tmp_path, proto, card=card, shapes={"x": (2, 3, 8, 8)}).feed(0)["x"].shape == (2, 3, 8, 8)


def convolves(shape) -> ModelProto:
    weights = stored("w", np.ones((4, 3, 3, 3)))
    return model([node("Conv", ["x", "w"], ["y"])], [port("x", shape)], [port("y", None)], [weights])


def test_where_no_operator_cares_small_sizes_are_chosen_and_told(tmp_path: Path) -> None:
    both = [port("a", ("n", 5)), port("b", ("n", 5))]
    adds = model([node("Add", ["a", "b"], ["s"]), node("Tanh", ["s"], ["y"])], both, [port("y", ("n", 5))])

    one, two = made(tmp_path, relu(shape=("n", None, "h", "w"))), made(tmp_path, adds)

    assert (one.feed(0)["x"].shape, two.feed(0)["b"].shape) == ((1, 3, 16, 16), (1, 5))
    assert one.chosen == ("--shape x=1,3,16,16: no operator here cares for the sizes",)
    assert made(tmp_path, relu(), shapes={}).chosen == ()


@pytest.mark.parametrize(
    "careful",
    [
        model([node("MatMul", ["x", "x"], ["y"])], [port("x", ("n", "n"))], [port("y", None)]),
        model([node("Add", ["x", "w"], ["y"])], [port("x", ("n", "m"))], [port("y", None)], [stored("w", [1, 2, 3])]),
        model([node("Add", ["x", "z"], ["y"])], [port("x", ("n",)), port("z", ("m",))], [port("y", None)]),
        model([node("Relu", ["x"], ["y"])], [port("x", ("n",))], [port("y", (999,))]),
        model([node("Neg", ["x"], ["y"])], [port("x", ("n",)), port("z", None)], [port("y", None)]),
    ],
    ids=["an operator that cares", "a stored vector", "sizes that may not fit", "a declared size", "no rank"],
)
def test_where_a_size_matters_it_is_asked_for(tmp_path: Path, careful: ModelProto) -> None:
    with pytest.raises(BadInput, match="dimensions that it does not fix"):
        made(tmp_path, careful)


def test_a_graph_of_very_many_layers_gets_fewer_samples_and_says_so(tmp_path: Path) -> None:
    names = ["x", *(f"t{place}" for place in range(10_000))]
    chain = model(
        [node("Neg", [names[place]], [names[place + 1]]) for place in range(10_000)], [port("x")], [port(names[-1])]
    )

    samples = made(tmp_path, chain)

    assert (len(samples), len(made(tmp_path, chain, samples=3))) == (2, 3)
    assert samples.chosen == ("--samples 2: the model has 10,000 layers, each is compared on every sample",)
