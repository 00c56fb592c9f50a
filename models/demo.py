"""Gets what the demonstration needs: a real text detector and real photographs.

python -m sysnoise_conform.models.demo FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from sysnoise_conform.errors import ConformError
from sysnoise_conform.models.fetch import fetch
from sysnoise_conform.models.photographs import photographs

MODEL = "ppocr-v4-det"


def main(arguments: list[str]) -> int:
    """Fill the folder that is named; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m sysnoise_conform.models.demo FOLDER\n")
        return 2
    folder = Path(arguments[0])
    try:
        model = fetch(MODEL, folder)
        pictures = photographs(folder / "photographs")
    except ConformError as err:
        sys.stderr.write(f"error: {err}\n")
        return err.exit_code
    sys.stdout.write(f"model: {model}\nphotographs: {pictures}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
