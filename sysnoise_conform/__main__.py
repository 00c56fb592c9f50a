"""The `conform` command: from its first moment an interrupt is one line and exit code 130, never a traceback."""

from __future__ import annotations

import signal

from sysnoise_conform import interruption


def main() -> None:
    """Run the command line of this process and end it."""
    for each in interruption.heeded():
        signal.signal(each, interruption.leave_at_once)
    from sysnoise_conform import cli  # its imports take a while: the handlers come first

    cli.main()


if __name__ == "__main__":
    main()
