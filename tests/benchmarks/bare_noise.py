"""What somebody without conform writes: loops over pictures and noises with one ONNX Runtime session, on one core.

Run: python tests/benchmarks/bare_noise.py MODEL CARD DATA COUNT CELLS, where CELLS is a JSON file with a list of
{axis: level}. Every distinct decode, conversion, resize and inference of a picture is done once, by the libraries and
kernels that conform uses; nothing is hashed, journaled, compared or kept but the first class of each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from sysnoise_conform.card import load_card
from sysnoise_conform.datasets import read_data
from sysnoise_conform.noise.preparation import prepared

FIXED = (224, 224)


def main() -> None:
    """Print how many answers differ from the card's own, by cell."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model, card, data = (Path(each) for each in sys.argv[1:4])
    count, cells = int(sys.argv[4]), json.loads(Path(sys.argv[5]).read_text(encoding="utf-8"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    spec = load_card(card).image
    assert spec is not None
    ways = list(dict.fromkeys(prepared(spec, each) for each in [{}, *cells]))
    pictures = read_data(data, "classify").pictures
    flips = np.zeros(len(ways), int)
    for at in range(count):
        picture = pictures[int(at * len(pictures) / count)]
        decoded, coloured, answers = {}, {}, []
        for way in ways:
            if way.decode_key() not in decoded:
                decoded[way.decode_key()] = way.decoded(picture.path)
            if way.colour_key() not in coloured:
                coloured[way.colour_key()] = way.coloured(decoded[way.decode_key()])
            tensor = way.tensor(way.placed(coloured[way.colour_key()], FIXED))
            answers.append(int(session.run(None, {name: tensor})[0].argmax()))
        flips += np.array(answers) != answers[0]
    sys.stdout.write(f"{flips.tolist()}\n")


if __name__ == "__main__":
    main()
