"""Every operator family, one line each: importing a module registers its operators."""

from __future__ import annotations

import sysnoise_conform.golden.elementwise
import sysnoise_conform.golden.shaping  # noqa: F401
