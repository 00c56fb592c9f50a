"""Every operator family, one line each: importing a module registers its operators."""

from __future__ import annotations

import sysnoise_conform.golden.activations
import sysnoise_conform.golden.attention
import sysnoise_conform.golden.casting
import sysnoise_conform.golden.control_flow
import sysnoise_conform.golden.convolution
import sysnoise_conform.golden.cropping
import sysnoise_conform.golden.detection
import sysnoise_conform.golden.dialect_ops
import sysnoise_conform.golden.elementwise
import sysnoise_conform.golden.filling
import sysnoise_conform.golden.generators
import sysnoise_conform.golden.images
import sysnoise_conform.golden.indexing
import sysnoise_conform.golden.linear_algebra
import sysnoise_conform.golden.losses
import sysnoise_conform.golden.microsoft
import sysnoise_conform.golden.microsoft_attention
import sysnoise_conform.golden.microsoft_quantised
import sysnoise_conform.golden.normalisation
import sysnoise_conform.golden.padding
import sysnoise_conform.golden.pooling
import sysnoise_conform.golden.quantisation
import sysnoise_conform.golden.recurrent
import sysnoise_conform.golden.reductions
import sysnoise_conform.golden.resizing
import sysnoise_conform.golden.sampling
import sysnoise_conform.golden.sequences
import sysnoise_conform.golden.shaping
import sysnoise_conform.golden.signal
import sysnoise_conform.golden.text  # noqa: F401
