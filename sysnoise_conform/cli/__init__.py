"""The command line: one file per command, no logic. Heavy imports wait until a command runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import typer

from sysnoise_conform import interruption
from sysnoise_conform.cli import (
    backends,
    bench,
    card,
    diagnose,
    doctor,
    env,
    export,
    judge,
    noise,
    parse,
    policy,
    probe,
    report,
    run,
    streams,
    tiny,
    zoo,
)
from sysnoise_conform.errors import ConformError, UsageError
from sysnoise_conform.printable import one_line

INTERNAL_FAULT = 70  # EX_SOFTWARE of sysexits.h: a bug in conform itself

app = typer.Typer(
    name="conform",
    help="Does a deployment target compute what PyTorch computes?",
    epilog="Example: conform run --model det.onnx --backends ort,openvino,tflite",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("diagnose")(diagnose.diagnose)
app.command("judge")(judge.judge)
app.command("report")(report.report)
app.command("backends")(backends.backends)
app.command("noise", cls=noise.NoiseCommand)(noise.noise)
app.command("bench")(bench.bench)
app.command("probe")(probe.probe)
app.command("policy")(policy.policy)
app.command("export")(export.export)
app.command("tiny")(tiny.tiny)
app.command("doctor")(doctor.doctor)
app.add_typer(card.app, name="card")
app.add_typer(env.app, name="env")
app.add_typer(zoo.app, name="zoo")


def _version(wanted: bool) -> None:
    if wanted:
        from sysnoise_conform import __version__

        typer.echo(f"conform {__version__}")
        raise typer.Exit


@app.callback()
def conform(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Does a deployment target compute what PyTorch computes?"""


def fail(message: str, code: int) -> int:
    """Print the one `error:` line that a failed command owes, and give back its exit code."""
    if interruption.noted():  # whatever came of it: it failed because it was told to end
        code = interruption.EXIT_CODE
        if not interruption.tell():
            return code
        if not message.startswith("interrupted"):
            message = "interrupted"
    sys.stderr.write(f"error: {one_line(message, 2000)}\n")
    return code


def usage(err: typer.TyperException) -> int:
    """A mistake in the words of the command line: one line, or the help where no command was given at all."""
    text = err.format_message() if hasattr(err, "format_message") else str(err)
    if type(err).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{text}\n")
        return 2
    context = getattr(err, "ctx", None)
    command = context.command_path if context is not None else "conform"
    return fail(f"{text.rstrip('.')}; try '{command} --help'", 2)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; the one place where errors are printed."""
    with interruption.listening():
        code = _invoke(arguments)
        return fail("interrupted", interruption.EXIT_CODE) if interruption.noted() else code


def _invoke(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not sys.platform.startswith("linux"):
            raise UsageError(f"conform runs on Linux alone, this is {sys.platform}", hint="use a container, or WSL 2")
        parse.refuse_empty(given)
        code = app(args=given, standalone_mode=False)
    except ConformError as err:
        return fail(str(err), err.exit_code)
    except typer.Exit as err:
        return int(err.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return fail("interrupted", interruption.EXIT_CODE)
    except typer.TyperException as err:
        return usage(err)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter's own flush at exit must find a place
        return 0
    except OSError as err:
        what = f"{err.strerror or err}" + (f": {err.filename}" if err.filename else "")
        return fail(f"{what}; free some space or choose another folder with --out or CONFORM_CACHE", 4)
    except Exception as err:
        if os.environ.get("CONFORM_DEBUG"):
            raise
        place = f"{type(err).__name__}: {err}"
        return fail(
            f"conform itself failed ({place}); this is a bug: run again with CONFORM_DEBUG=1 and report what it prints",
            INTERNAL_FAULT,
        )
    return int(code or 0)


def main() -> None:
    """The `conform` command, once it is imported: see `__main__`.

    It leaves without the interpreter's tidying up: everything is written, every child has ended or is being ended, and
    taking down the modules of a run takes longer than judging it.
    """
    streams.reopen_closed()
    code = invoke()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it is gone
            stream.flush()
    os._exit(code)
