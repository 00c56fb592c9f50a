"""Starts a command and samples the memory of it and of everything it starts, from a process of its own.

Run: python pss.py RESULT COMMAND... RESULT gets JSON: the peak of the sum of PSS (each page counted once, divided
among those who share it), the peak of the mapped golden pages, which the system may take back at any time, and the
peak of what remains. Standard library only, so that it disturbs little.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

EVERY_S = 0.02
MIB = 1024  # KiB


def family(root: int) -> list[int]:
    """`root` and all its descendants that are alive."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
                children[int(fields[1])].append(int(entry))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children[process]
    return found


def pss_kib(process: int) -> tuple[int, int]:
    """The proportional set size of one process, and what of it are mapped pages of goldens; zeros when it is gone.

    Both come from one reading wherever there are such pages: a process that ends between two readings would leave
    its goldens to the rest.
    """
    with contextlib.suppress(OSError):
        whole = _rolled_up(process)
        if b"golden" in Path(f"/proc/{process}/maps").read_bytes():
            return _by_mapping(process)
        return whole, 0
    return 0, 0


def _rolled_up(process: int) -> int:
    for line in Path(f"/proc/{process}/smaps_rollup").read_bytes().splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1])
    return 0


def _by_mapping(process: int) -> tuple[int, int]:
    whole = golden = 0
    within = False
    for line in Path(f"/proc/{process}/smaps").read_bytes().splitlines():
        head, _, rest = line.partition(b" ")
        if not head.endswith(b":"):  # the first line of a mapping, which ends with its file
            file = rest.removesuffix(b" (deleted)")
            within = b"golden" in file and file.endswith((b".golden", b".tmp"))
        elif head == b"Pss:":
            size = int(rest.split()[0])
            whole += size
            golden += size if within else 0
    return whole, golden


def main() -> None:
    """Run the command, sample until it ends, write the peaks, end as it ended."""
    result, command = Path(sys.argv[1]), sys.argv[2:]
    peaks = {"all_mib": 0.0, "golden_mib": 0.0, "rest_mib": 0.0, "processes": 0, "samples": 0}
    process = subprocess.Popen(command)
    while process.poll() is None:
        began = time.monotonic()
        members = family(process.pid)
        sizes = [pss_kib(each) for each in members]
        everything, golden = sum(each[0] for each in sizes), sum(each[1] for each in sizes)
        for name, seen in (
            ("all_mib", everything / MIB), ("golden_mib", golden / MIB), ("rest_mib", (everything - golden) / MIB),
            ("processes", len(members)),
        ):  # fmt: skip
            peaks[name] = max(peaks[name], seen)
        peaks["samples"] += 1
        time.sleep(max(0.0, began + EVERY_S - time.monotonic()))
    result.write_text(json.dumps(peaks), encoding="utf-8")
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
