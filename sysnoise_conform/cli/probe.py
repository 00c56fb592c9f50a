"""`conform probe`: what a target gets wrong, known before any model of yours runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def probe(
    backend: Annotated[
        str,
        typer.Option("--backend", "-b", help="name[:precision][@device][+option=value...]", show_default=False),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Cases or operators by a shell pattern: 'resize*', AveragePool. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file that gets the JSON.")] = None,
) -> None:
    """Run a corpus of tiny cases, on which runtimes are known to differ, on one BACKEND; keep what came of it.

    `conform run` then says which nodes of a model are of a kind that this target gets wrong. It takes seconds; on
    TFLite minutes, since its converter starts anew for each case.

    Exit codes: 0 it ran, whatever it found, 2 usage, 3 the runtime crashed on a case, 4 I/O, 5 it refused every case,
    6 it is unavailable, 130 interrupted.

    Examples:

    conform probe --backend ort

    conform probe --backend openvino --only 'averagepool*'
    """
    from sysnoise_conform.errors import StorageError
    from sysnoise_conform.probe import kept, table
    from sysnoise_conform.probe.corpus import chosen
    from sysnoise_conform.probe.measure import measure
    from sysnoise_conform.report.folder import atomic_write
    from sysnoise_conform.reports.progress import progress
    from sysnoise_conform.runner.provenance import threads_for
    from sysnoise_conform.variant import parse_variant

    variant = parse_variant(backend)
    with progress() as watch:
        found = measure(
            variant, chosen(*(only or ())), with_relations=not only, watch=watch, threads=threads_for(0)
        )
    key = kept.Key(runtime=found.runtime.name, version=found.runtime.version, variant=str(variant))
    path, fault = None, None
    try:
        path = kept.keep(key, {row.case.name: row.result for row in found.rows}, found.relations)
    except StorageError as err:  # told after the table: what was measured is worth reading all the same
        fault = err
    if out is not None:
        atomic_write(out, table.as_json(found, key))
    typer.echo(table.as_json(found, key) if as_json else table.as_text(found, key, path), nl=False)
    if fault is not None:
        raise fault
    counts = table.counts(found)
    if counts["crashed"]:
        raise typer.Exit(3)
    if not counts["agrees"] + counts["deviates"]:
        raise typer.Exit(5)
