"""Where interpreters of other environments are: named in the configuration, or made under the cache."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from sysnoise_conform.errors import UsageError
from sysnoise_conform.folders import cache_folder, home
from sysnoise_conform.printable import one_line

MARKER = "conform-env.json"  # written last: a folder without it is half made, and no environment


def config_file() -> Path:
    """CONFORM_CONFIG, or ~/.config/conform.toml (below XDG_CONFIG_HOME where that is set)."""
    named = os.environ.get("CONFORM_CONFIG")
    if named:
        return Path(os.path.expanduser(named)).absolute()
    return Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config") / "conform.toml"


def folder_of(backend: str) -> Path:
    """Where a backend's environment is or would be."""
    return cache_folder() / "envs" / backend


def of_library(name: str) -> Path | None:
    """The Python that has a picture library; None without one. Raises UsageError for one that is configured wrongly."""
    named = configured().get(name)
    if named is None:
        folder = folder_of(name)
        python = folder / "bin" / "python"
        return python if (folder / MARKER).is_file() and os.access(python, os.X_OK) else None
    path = named.expanduser().absolute()  # not resolved: a venv's python is a link, and the link is the venv
    if not os.access(path, os.X_OK):
        raise UsageError(
            f"python.{name} in {one_line(config_file())}: there is no interpreter {one_line(path)}",
            hint="name the python of an environment",
        )
    return path


def configured() -> dict[str, Path]:
    """The interpreters in the configuration file, by name. Raises UsageError for a file that can't be read."""
    path = config_file()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        if os.environ.get("CONFORM_CONFIG"):
            raise UsageError(f"CONFORM_CONFIG names {one_line(path)}, which is not there", hint="unset it") from err
        return {}
    except (OSError, ValueError) as err:
        if not os.environ.get("CONFORM_CONFIG") and not os.access(path.parent, os.X_OK):
            return {}  # another user's home, as containers leave it: no config of ours
        raise UsageError(f"the config {one_line(path)} can't be read: {one_line(err)}", hint="it is TOML") from err
    env = table.get("env", {})
    pythons = env.get("python", {}) if isinstance(env, dict) else None
    if not isinstance(pythons, dict) or not all(isinstance(each, str) for each in pythons.values()):
        raise UsageError(f"[env] in {one_line(path)} is malformed", hint='write python.tflite = "/path/to/python"')
    return {name: Path(python) for name, python in pythons.items()}
