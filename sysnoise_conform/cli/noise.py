"""`conform noise`: what every mismatch around the model costs its task, and whether that is real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from sysnoise_conform.cli import options

ALL = "all"  # what --list alone asks for


class NoiseCommand(typer.core.TyperCommand):
    """`--list` goes with a name and without one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give `--list` its value where the line has none."""
        for at in [at for at, each in enumerate(args) if each == "--list"][:1]:
            if at + 1 == len(args) or args[at + 1].startswith("-"):
                args = [*args[: at + 1], ALL, *args[at + 1 :]]
        return super().parse_args(ctx, args)


def _listed(name: str | None) -> None:
    if name is not None:
        from sysnoise_conform.reports import noise_catalogue

        typer.echo(noise_catalogue.all_axes() if name == ALL else noise_catalogue.one_axis(name), nl=False)
        raise typer.Exit


def noise(
    model: options.Model,
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="Pictures with labels, a file of questions, recordings.", show_default=False),
    ],
    backends: Annotated[str, typer.Option("--backends", "-b", help="Comma-separated, as for run.")] = "torch",
    card: options.Card = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="classify, detect, segment, agree (no labels), choose, speak; else the card's."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels that lie elsewhere: CSV, COCO JSON, a folder of masks.")
    ] = None,
    noise: Annotated[
        str, typer.Option("--noise", "-x", help="default, paper, all, axes, or axis=level, comma-separated.")
    ] = "default",
    baseline: Annotated[str, typer.Option("--baseline", help="The backend that is compared with.")] = "torch",
    combine: Annotated[
        str, typer.Option("--combine", help="Of pipeline, swap, greedy, shapley; or none.")
    ] = "pipeline,swap",
    samples: Annotated[
        int | None, typer.Option("--samples", "-n", help="How many pictures, evenly spread.", min=2)
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Further data for int8's ranges; else what --samples leaves over."),
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="The drop that is allowed, in points.", min=0.0)] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.", min=0)] = 0,
    on_bad: Annotated[
        str, typer.Option("--on-bad", help="fail or skip, for pictures and labels that are broken.")
    ] = "fail",
    gallery: Annotated[
        int, typer.Option("--gallery", help="How many pictures whose answer changed go into the page.", min=0)
    ] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report; a former one's files are removed first.")
    ] = Path("conform-noise"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a run that ended early has measured.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for one compile or one run.", min=0.1)] = 300.0,
    memory: options.Memory = None,
    threads: Annotated[
        int,
        typer.Option("--threads", help="Threads of a runtime; the cores share the pictures. 0: its own choice.", min=0),
    ] = 1,
    batch: Annotated[
        int,
        typer.Option("--batch", help="Tensors in one run of a graph whose batch is open; faster for some.", min=1),
    ] = 1,
    allow_linked_data: options.AllowLinkedData = False,
    allow_hooks: Annotated[
        bool, typer.Option("--allow-hooks", help="Run the decoder hook of a card that lies beside the model.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print every cell.")] = False,
    listed: Annotated[
        str | None,
        typer.Option(
            "--list", metavar="[AXIS]", help="Print the noises, or one's levels, and end.", callback=_listed,
            is_eager=True,
        ),
    ] = None,
) -> None:
    """Measure what decoders, resizes, colour conversions, roundings and runtimes cost MODEL's task on DATA.

    Exit codes: 0 every drop is surely below the margin, 1 one is surely above it, 2 bad input or usage, 3 a backend
    crashed, 4 I/O, 5 so few pictures can't tell, or a cell has no answer, 6 a backend is unavailable, 130 interrupted.

    Examples:

    conform noise --model det.onnx --data photos/ --task agree --backends ort --noise decoder,resize

    conform noise --list resize
    """
    from sysnoise_conform.case import Limits
    from sysnoise_conform.cli import parse
    from sysnoise_conform.cli.matrix import matrix
    from sysnoise_conform.matrix.subject import PICTURES, TOLD, MatrixCase
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variant, parse_variants

    case = MatrixCase(
        model=model,
        data=data,
        variants=parse_variants(backends),
        baseline=parse_variant(baseline),
        noise=noise,
        card=card,
        labels=labels,
        calibration=calibration,
        task=parse.choice("--task", task, (*PICTURES, *TOLD)) if task else None,
        samples=samples,
        combine=parse.choices("--combine", combine, ("pipeline", "swap", "greedy", "shapley")),
        margin=margin / 100,
        seed=seed,
        on_bad="skip" if parse.choice("--on-bad", on_bad, ("fail", "skip")) == "skip" else "fail",
        gallery=gallery,
        batch=batch,
        limits=Limits(timeout_s=timeout, memory_bytes=parse.size(memory, "--memory"), threads=threads_for(threads)),
        resume=resume,
        allow_linked_data=allow_linked_data,
        allow_hooks=allow_hooks,
    )
    raise typer.Exit(matrix(case, out, verbose=verbose))
