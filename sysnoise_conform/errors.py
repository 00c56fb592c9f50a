"""Everything conform can raise, as one tree: what happened, what to do next, which exit code.

Runs in children too, so it stays with Python 3.10 and the standard library.

    ConformError                 2   a mistake in what was asked
    ├── UsageError               2   the command line, a spec, a policy, a card
    ├── BadModel                 2   a model file that is missing, broken or refused
    ├── BadInput                 2   an array, image or data folder that can't be used
    ├── UnsupportedOperator      2   the golden knows no such operator (or not this form of it)
    ├── GoldenUnavailable        6   PyTorch is not installed
    ├── GoldenDied               3   the golden's own child crashed or hit its limit
    ├── StorageError             4   our own reading and writing: full disk, no permission
    ├── Interrupted            130   Ctrl-C or SIGTERM
    ├── TruncatedReport          5   a report without its footer
    └── BackendError             what a runtime did; becomes an Outcome, not an exit
        ├── BackendUnavailable   6   not installed, no such device
        ├── Unsupported          5   the runtime refuses the model, an operator, an option
        └── BackendDied          3   crashed, hung or ran out of memory
"""

from __future__ import annotations

from typing import Any, ClassVar


class ConformError(Exception):
    """A mistake or fault that conform can explain in one line, with a hint and an exit code."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def fields(self) -> dict[str, Any]:
        """The error as JSON, for the way from a child to its parent (see `from_fields`)."""
        return {"error": type(self).__name__, **self.__dict__}


class UsageError(ConformError):
    """The command line, a backend spec, a policy or a card says something impossible."""


class BadModel(ConformError):
    """A model file that is missing, broken, or asks for something that intake refuses; `node` is at fault if known."""

    def __init__(self, message: str, *, node: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.node = node


class BadInput(ConformError):
    """An input array, image or data folder that can't be used."""


class UnsupportedOperator(ConformError):
    """The golden has no such operator, or not this form of it."""

    def __init__(self, message: str, *, op: str = "", opset: int = 0, node: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.op = op
        self.opset = opset
        self.node = node


class GoldenUnavailable(ConformError):
    """PyTorch, without which there is nothing to compare with, is not here."""

    exit_code = 6


class GoldenDied(ConformError):
    """The child that computes the golden crashed or hit its limit: no backend's fault."""

    exit_code = 3


class StorageError(ConformError):
    """Our own reading or writing failed: a full disk, a folder without permission."""

    exit_code = 4


class Interrupted(ConformError):
    """The user, or whoever supervises us, ended the run."""

    exit_code = 130


class TruncatedReport(ConformError):
    """A report that has no footer: its run did not come to its end."""

    exit_code = 5


class BackendError(ConformError):
    """What a runtime did. The runner turns it into an `Outcome`."""

    exit_code = 5


class BackendUnavailable(BackendError):
    """The runtime or the device is not here. `hint` is the command that cures it."""

    exit_code = 6


class Unsupported(BackendError):
    """The runtime refuses the model, an operator or an option, by a clean error of its own.

    `stage` is one of `convert`, `compile`, `run`; `node` and `op` are ONNX names where known.
    """

    def __init__(
        self, message: str, *, stage: str = "compile", node: str | None = None, op: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.node = node
        self.op = op


class BackendDied(BackendError):
    """The child that held the session is gone or was ended.

    `cause` is one of `crash`, `timeout`, `memory`; `stage` is what it was asked to do;
    `signal` is the signal's name when there was one (`SIGSEGV`).
    """

    exit_code = 3

    def __init__(
        self, message: str, *, stage: str = "run", cause: str = "crash", signal: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.cause = cause
        self.signal = signal


def _tree(root: type[ConformError]) -> dict[str, type[ConformError]]:
    found = {root.__name__: root}
    for each in root.__subclasses__():
        found.update(_tree(each))
    return found


def from_fields(fields: dict[str, Any]) -> ConformError:
    """The error that `ConformError.fields` described; an unknown name becomes a plain ConformError."""
    data = dict(fields)
    kind = _tree(ConformError).get(str(data.pop("error", "")), ConformError)
    message = str(data.pop("message", "no message"))
    try:
        return kind(message, **data)
    except TypeError:
        return kind(message)
