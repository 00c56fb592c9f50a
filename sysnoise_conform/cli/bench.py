"""`conform bench`: the tables of the SysNoise paper, measured here beside what it published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    tables: Annotated[
        list[str], typer.Argument(help="Of table2, table3, table4, table5, table10, fig3.", show_default=False)
    ],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="An ONNX model of yours.")] = None,
    card: Annotated[Path | None, typer.Option("--card", help="Its card; else looked for beside it.")] = None,
    member: Annotated[
        list[str] | None,
        typer.Option("--member", help="A model of the zoo, by its weights here; all: every one. Repeatable."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="The folder of pictures and labels.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Labels that lie elsewhere.")] = None,
    backend: Annotated[str, typer.Option("--backend", "-b", help="Which runs the noises.")] = "ort",
    baseline: Annotated[str, typer.Option("--baseline", help="Which is compared with.")] = "torch",
    samples: Annotated[
        int | None, typer.Option("--samples", "-n", help="How many pictures, evenly spread.", min=2)
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Print the paper's figures alone.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.", min=0)] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables and the runs behind them.")] = Path(
        "conform-bench"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what has been measured.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for one compile or one run.", min=0.1)] = 300.0,
    threads: Annotated[int, typer.Option("--threads", help="Threads of a runtime, as for noise.", min=0)] = 1,
) -> None:
    """Lay out TABLES of the SysNoise paper: its figures, doubtful ones marked, and beside them what is measured here.

    Exit codes: 0 every table is written, 2 bad input or usage, 3 a backend crashed, 4 I/O, 6 one is unavailable,
    130 interrupted. Drops decide nothing here: that is what conform noise is for.

    Examples:

    conform bench table2 --model lite0.onnx --data imagenet/

    conform bench table2 table3 fig3 --member all --data imagenet/

    conform bench table2 --published
    """
    from sysnoise_conform.case import Limits
    from sysnoise_conform.cli.tables import Bench
    from sysnoise_conform.matrix.benching import Asked
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variant

    asked = Asked(
        tables=tuple(dict.fromkeys(tables)), model=model, card=card, members=tuple(member or ()), data=data,
        labels=labels, variant=parse_variant(backend), baseline=parse_variant(baseline), samples=samples,
        published=published, seed=seed, resume=resume,
        limits=Limits(timeout_s=timeout, threads=threads_for(threads)),
    )  # fmt: skip
    tables_of = Bench(asked, out)
    for text in tables_of.texts():
        typer.echo(text)
    raise typer.Exit(tables_of.exit_code)
