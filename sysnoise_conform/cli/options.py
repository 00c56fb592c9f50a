"""The options that more than one command has: one name, one help and one default for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sysnoise_conform.case import Deployed

Model = Annotated[Path, typer.Option("--model", "-m", help="The ONNX model.", show_default=False)]
Inputs = Annotated[
    Path | None,
    typer.Option("--inputs", "-i", help=".npz, .npy, .safetensors, a folder of these, or a folder of images."),
]
Card = Annotated[Path | None, typer.Option("--card", help="Model card (TOML); else looked for beside it.")]
Samples = Annotated[int | None, typer.Option("--samples", "-n", help="How many inputs.", min=1)]
SyntheticSeed = Annotated[int, typer.Option("--seed", help="Seed of synthetic inputs.", min=0)]
Shape = Annotated[
    list[str] | None, typer.Option("--shape", help="A dynamic input's size: name=1,3,640,640. Repeatable.")
]
Bind = Annotated[
    list[str] | None, typer.Option("--input", help="Bind one input to a constant: sr=16000. Repeatable.")
]
DeployedFile = Annotated[
    Path | None, typer.Option("--deployed", help="The file that ships (.onnx, .tflite, .xml), run as it is.")
]
Names = Annotated[
    list[str] | None, typer.Option("--map", help="A golden tensor's name in --deployed: golden=deployed.")
]
Layouts = Annotated[
    list[str] | None, typer.Option("--layout", help="A golden tensor that --deployed holds as name=NHWC.")
]
Calibration = Annotated[
    Path | None, typer.Option("--calibration", help="What :int8 calibrates on; else inputs that are not judged.")
]
KeepFp32 = Annotated[
    list[str] | None, typer.Option("--keep-fp32", help="A node that conversions leave in float32. Repeatable.")
]
Policy = Annotated[Path | None, typer.Option("--policy", help="Thresholds (TOML) in place of the defaults.")]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds for one compile or one run, PyTorch's too.", min=0.1)
]
Memory = Annotated[str | None, typer.Option("--memory", help="Limit of one session: 4G, 800M.")]
Threads = Annotated[
    int, typer.Option("--threads", help="Threads of a runtime; 0: its own choice, within a quota of cores.", min=0)
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep golden tensors.")]
AllowLinkedData = Annotated[
    bool, typer.Option("--allow-linked-data", help="Accept files that are linked from elsewhere.")
]


def deployed_of(path: Path | None, names: list[str] | None, layouts: list[str] | None) -> Deployed | None:
    """The file that ships, with what is said of its tensors. Raises UsageError."""
    from sysnoise_conform.case import Deployed
    from sysnoise_conform.cli import parse
    from sysnoise_conform.errors import UsageError

    if path is None:
        if names or layouts:
            raise UsageError("--map and --layout speak of the file given with --deployed", hint="add --deployed FILE")
        return None
    return Deployed(
        path=path, names=parse.pairs(names, "--map"), layouts=parse.layouts(parse.pairs(layouts, "--layout"))
    )
