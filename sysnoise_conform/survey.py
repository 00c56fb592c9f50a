"""What is here: every backend probed in a child of its own, for `conform backends` and `conform doctor`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sysnoise_conform import environments, registry
from sysnoise_conform.backend import Option
from sysnoise_conform.case import Limits
from sysnoise_conform.errors import BackendDied, BackendError, BackendUnavailable, UsageError
from sysnoise_conform.printable import one_line
from sysnoise_conform.runner import provenance
from sysnoise_conform.runner.crew import Crew
from sysnoise_conform.store import Store
from sysnoise_conform.variant import Variant

# Some runtimes need seconds to import; none needs a minute.
PROBE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One backend as it is here; `why` and `cure` where it is not available."""

    backend: str
    about: str
    available: bool
    runtime: str = ""
    version: str = ""
    devices: tuple[str, ...] = ()
    default_precision: str = ""
    details: dict[str, str] = field(default_factory=dict)
    python: str = ""
    options: tuple[str, ...] = ()
    why: str = ""
    cure: str = ""


def survey(names: Sequence[str] | None = None) -> tuple[Found, ...]:
    """Probe these backends (all there are when None), side by side. Raises UsageError for an unknown name."""
    chosen = tuple(names) if names else registry.names()
    classes = {}
    for name in chosen:
        try:
            classes[name] = registry.load(name)
        except UsageError:
            if names:
                raise
    with tempfile.TemporaryDirectory(prefix="conform-survey-") as folder:
        crew = Crew(Limits(timeout_s=PROBE_SECONDS))

        def one(name: str) -> Found:
            return _probe(crew, name, classes[name].capabilities, Path(folder) / f"{name}.txt")

        with ThreadPoolExecutor(max_workers=max(2, provenance.usable_cores())) as pool:
            return tuple(pool.map(one, classes))


def _probe(crew: Crew, name: str, capabilities: Any, log: Path) -> Found:
    about = capabilities.about
    options = tuple(_option(each) for each in capabilities.options)
    variant = Variant(backend=name)
    python = environments.interpreter(variant)
    try:
        with crew.member(f"{name} probe", log, variant=variant) as child:
            runtime = child.probe(name)
    except BackendUnavailable as err:
        return Found(
            backend=name, about=about, available=False, options=options, python=str(python or ""),
            why=one_line(err.message), cure=err.hint or "",
        )
    except BackendDied as err:
        return Found(
            backend=name, about=about, available=False, options=options, python=str(python or ""),
            why=f"its probe did not survive: {one_line(err.message)}", cure="reinstall it, or see conform doctor",
        )
    except BackendError as err:
        return Found(backend=name, about=about, available=False, options=options, why=one_line(str(err)))
    return Found(
        backend=name, about=about, available=True, runtime=runtime.name, version=runtime.version,
        devices=runtime.devices, default_precision=runtime.default_precision, details=dict(runtime.details),
        python=str(python or ""), options=options,
    )


def _option(option: Option) -> str:
    return f"+{option.name}={'|'.join(option.choices) if option.choices else '…'}"


def as_json(found: Sequence[Found]) -> str:
    """The survey as JSON, one object per backend."""
    return json.dumps([asdict(each) for each in found], indent=2, sort_keys=True, allow_nan=False)


def as_text(found: Sequence[Found]) -> str:
    """The survey as lines for a person."""
    lines = []
    for each in found:
        if each.available:
            lines.append(f"{each.backend:<10} {each.runtime} {each.version}")
            lines.append(f"{'':<10}   devices {', '.join(each.devices) or 'cpu'}; by itself it computes in "
                         f"{each.default_precision} on this host")
            lines += [f"{'':<10}   {key}: {one_line(value)}" for key, value in sorted(each.details.items())]
            if each.options:
                lines.append(f"{'':<10}   options {' '.join(each.options)}")
        else:
            lines.append(f"{each.backend:<10} not available: {each.why}")
            if each.cure:
                lines.append(f"{'':<10}   to get it: {each.cure}")
        if each.python:
            lines.append(f"{'':<10}   runs in {each.python}")
    name, flags = provenance.processor()
    lines.append(f"host: {name}, {provenance.usable_cores()} cores, {' '.join(flags) or 'no known ISA flags'}")
    return "\n".join(lines)


def doctor() -> str:
    """Everything that a bug report needs, as one text."""
    facts = provenance.environment(threads=0)
    with Store.open() as store:
        usage, notes = store.usage(), list(store.notes)
    lines = [
        f"conform {facts['conform']}, Python {facts['python']}, {facts['platform']}",
        f"cache: {usage.folder} ({usage.entries} goldens, {usage.size / 1e6:,.0f} MB of {usage.limit / 1e9:.3g} GB)",
        *(f"cache: {one_line(each)}" for each in notes),
        "packages: " + ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
        "environments:",
        *(f"  {line}" for line in environments.listing() or ("none of their own",)),
        "backends:",
        *(f"  {line}" for line in as_text(survey()).splitlines()),
    ]
    return "\n".join(lines)
