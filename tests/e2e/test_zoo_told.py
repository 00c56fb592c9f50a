"""Members that read texts: an export stands with its card and its tokenizer, and a table is measured on it.

Small networks with random weights in the layout of the libraries' own; left out where those are not installed, as in
test_zoo_families.py.
"""

from __future__ import annotations

import csv
import json
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import Conform

from sysnoise_conform.card import load_card
from sysnoise_conform.graph.intake import open_model
from sysnoise_conform.matrix.told import Given, telling
from sysnoise_conform.texts.tokens import tokens_of

WORDS = ("the cat sat", "a dog ran", "birds sing at dawn", "rain falls on roofs", "we go home", "he reads a book")


def needs(*modules: str) -> None:
    for each in modules:
        if find_spec(each) is None:
            pytest.skip(f"{each} is not installed")


def in_a_process(code: str, folder: Path) -> None:
    """What imports these libraries does it in a process of its own: they patch what is loaded."""
    import subprocess
    import sys

    before = (
        "from sysnoise_conform.models.zoo.build import _without_a_torchaudio_that_does_not_load, torchvision\n"
        "torchvision(); _without_a_torchaudio_that_does_not_load()\n"
        "import torch, transformers\ntorch.manual_seed(0)\n"
    )
    subprocess.run([sys.executable, "-c", before + code, str(folder)], check=True, capture_output=True)


def questions(place: Path) -> Path:
    place.mkdir()
    rows = [{"goal": each, "sol1": "yes it is", "sol2": "no", "label": at % 2} for at, each in enumerate(WORDS)]
    (place / "piqa.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return place


def recordings(place: Path, texts: tuple[str, ...]) -> Path:
    (place / "wavs").mkdir(parents=True)
    lines = []
    for number, text in enumerate(texts):
        at = np.arange(4000 + 300 * number) / 22050
        sound = np.sin(2 * np.pi * (200 + 40 * number) * at) * 0.5
        with wave.open(str(place / "wavs" / f"r{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(22050)
            file.writeframes((sound * 32767).astype("<i2").tobytes())
        lines.append(f"r{number}|{text}|{text}\n")
    (place / "metadata.csv").write_text("".join(lines))
    return place


def measured(out: Path, table: str) -> dict[str, dict[str, str]]:
    found = csv.DictReader((out / f"{table}.csv").open())
    return {each["column"]: each for each in found if each["source"] == "measured"}


def test_opt_is_asked_questions_through_the_tokenizer_of_its_weights(conform: Conform, tmp_path: Path) -> None:
    needs("transformers", "torchvision")
    weights = tmp_path / "weights"
    in_a_process(
        "import sys\n"
        "made = transformers.OPTConfig(vocab_size=300, hidden_size=16, ffn_dim=32, num_hidden_layers=1,"
        " num_attention_heads=2, word_embed_proj_dim=16, max_position_embeddings=64)\n"
        "transformers.OPTForCausalLM(made).save_pretrained(sys.argv[1])\n",
        weights,
    )
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "\u0120c", "at"]
    (weights / "vocab.json").write_text(json.dumps({each: at for at, each in enumerate(pieces)}))
    (weights / "merges.txt").write_text("#version: 0.2\n\u0120 c\na t\n")

    done = conform(
        "zoo", "export", "opt-125m", "--weights", weights, "--shape", "input_ids=1,32", "--out", "opt.onnx"
    )

    assert done.code == 0, done.stderr
    assert "wrote" in done.stdout
    card = load_card(tmp_path / "opt.toml")
    assert card.text is not None
    assert (card.task, card.text.tokenizer, card.text.begin) == ("choose", "opt.tokenizer.json", 2)
    ids = tokens_of(card.text, tmp_path)("the cat")
    assert [pieces[each] for each in ids] == ["</s>", "t", "h", "e", "\u0120c", "at"]

    done = conform(
        "bench", "table5", "--model", "opt.onnx", "--data", questions(tmp_path / "asked"), "--baseline", "ort",
        "--out", "out",
    )  # fmt: skip

    assert done.code == 0, done.stderr
    found = measured(done.out, "table5")
    assert set(found) == {"trained", "fp16", "int8"}
    assert all(each["mean"] for each in found.values())
    assert "OPT-125M" in done.stdout


def test_fastspeech2_says_phonemes_and_its_sound_is_held_against_recordings(conform: Conform, tmp_path: Path) -> None:
    needs("transformers", "torchvision")
    weights = tmp_path / "weights"
    in_a_process(
        "import sys\n"
        "small = dict.fromkeys(('hidden_size', 'encoder_linear_units', 'decoder_linear_units',"
        " 'speech_decoder_postnet_units', 'duration_predictor_channels', 'energy_predictor_channels',"
        " 'pitch_predictor_channels'), 8) | dict(encoder_layers=1, decoder_layers=1, vocab_size=8)\n"
        "made = transformers.FastSpeech2ConformerWithHifiGanConfig(model_config=small,"
        " vocoder_config=dict(upsample_initial_channel=8, upsample_rates=[4, 2], upsample_kernel_sizes=[8, 4],"
        " resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]]))\n"
        "net = transformers.FastSpeech2ConformerWithHifiGan(made)\n"
        "net.model.duration_predictor.linear.bias.data.fill_(1.5)\n"
        "net.save_pretrained(sys.argv[1])\n",
        weights,
    )
    phonemes = ["<blank>", "<unk>", "HH", "AH0", "L", "OW1", ",", "<sos/eos>"]
    (weights / "vocab.json").write_text(json.dumps({each: at for at, each in enumerate(phonemes)}))

    done = conform(
        "zoo", "export", "fastspeech2", "--weights", weights, "--shape", "input_ids=1,16",
        "--shape", "attention_mask=1,16", "--out", "said.onnx",
    )  # fmt: skip

    assert done.code == 0, done.stderr
    card = load_card(tmp_path / "said.toml")
    assert card.text is not None
    assert tokens_of(card.text, tmp_path)("HH AH0  L OW1 ZZ") == [2, 3, 4, 5, 1, 7]
    data = recordings(tmp_path / "speech", tuple(f"HH AH0 {'L ' * at}OW1" for at in range(6)))

    done = conform("bench", "table10", "--model", "said.onnx", "--data", data, "--baseline", "ort", "--out", "out")

    assert done.code == 0, done.stderr
    found = measured(done.out, "table10")
    assert {"fp16", "int8", "stft", "combined"} <= set(found)
    assert all(each["mean"] for each in found.values())


def test_tacotron2_is_led_along_the_recordings(conform: Conform, tmp_path: Path) -> None:
    needs("torchaudio")
    shapes = ("--shape", "tokens=1,12", "--shape", "mask=1,12", "--shape", "mel=1,80,2")

    done = conform("zoo", "export", "tacotron2", "--random-weights", *shapes, "--out", "t.onnx")

    assert done.code == 0, done.stderr
    card = load_card(tmp_path / "t.toml")
    assert card.text is not None
    letters = "_-!'(),.:;? abcdefghijklmnopqrstuvwxyz"
    assert tokens_of(card.text, tmp_path)("Go \u00e9[on]!") == [letters.index(each) for each in "go on!"]
    data = recordings(tmp_path / "speech", WORDS[:2])
    given = Given(place=data, samples=None, on_bad="fail", allow_linked=False)
    told = telling("speak", card, open_model(tmp_path / "t.onnx"), given).told
    (feed,) = told.feeds(1, {})
    assert {name: each.shape for name, each in feed.items()} == {"tokens": (1, 12), "mask": (1, 12), "mel": (1, 80, 2)}
    assert feed["mask"].sum() == len(WORDS[1])
    assert np.abs(feed["mel"]).max() > 1
