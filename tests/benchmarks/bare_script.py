"""What somebody without conform writes: the module in eager float64, a tapped ONNX Runtime session, their difference.

Run: python tests/benchmarks/bare_script.py FOLDER, which holds model.onnx, weights.pt and inputs/*.npy. Prints the
largest difference at every tensor over all samples. It stores nothing, knows no rounding to compare with, runs in one
process and falls with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from resnet import ResNet18, operators


def main() -> None:
    """Compare all samples and print one line for each tensor."""
    folder = Path(sys.argv[1])
    model = onnx.load(folder / "model.onnx")
    known = {each.name for each in model.graph.output}
    names = [name for node in model.graph.node for name in node.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=each) for each in names if each not in known)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    module = ResNet18()
    module.load_state_dict(torch.load(folder / "weights.pt"))
    module.double().eval()
    seen: dict[str, np.ndarray] = {}
    for name, operator in operators(module):
        operator.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.numpy()}))

    worst = dict.fromkeys(names, 0.0)
    for path in sorted((folder / "inputs").glob("*.npy")):
        picture = np.load(path)
        with torch.inference_mode():
            module(torch.from_numpy(picture).double())
        for name, got in zip(names, session.run(names, {model.graph.input[0].name: picture}), strict=True):
            worst[name] = max(worst[name], float(np.abs(got - seen[name]).max()))
    for name, difference in worst.items():
        sys.stdout.write(f"{name} {difference:.3g}\n")


if __name__ == "__main__":
    main()
