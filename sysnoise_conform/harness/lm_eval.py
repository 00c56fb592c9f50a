"""EleutherAI's lm-evaluation-harness with an exported ONNX model: `python -m sysnoise_conform.harness.lm_eval`.

    python -m sysnoise_conform.harness.lm_eval run --model conform --model_args model=opt.onnx,backend=ort:fp16
        --tasks piqa,hellaswag,winogrande,lambada_openai

Everything behind the module's name is lm-eval's own command line. Its tasks bring their data by the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from sysnoise_conform.errors import UsageError
from sysnoise_conform.harness.language import language_model

MOST_TOKENS = 256  # of a continuation, where a task does not say how many


@register_model("conform")
class ConformLM(LM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's LM over a causal model on a backend.

    model: the ONNX file; backend: as everywhere (`ort`, `openvino:fp32`, `ort:fp16`); card: its card, else beside it.
    """

    def __init__(
        self, model: str = "", backend: str = "ort", card: str = "", threads: int | str = 0, **ignored: Any
    ) -> None:
        super().__init__()
        del ignored  # batch_size, device, max_batch_size: the harness hands them to every model
        if not model:
            raise UsageError("--model_args names no model", hint="--model_args model=path.onnx,backend=ort")
        self._stack = ExitStack()
        self._told = self._stack.enter_context(
            language_model(Path(model), backend, card=Path(card) if card else None, threads=int(threads))
        )

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of each request's continuation behind its context; an empty context is the token that begins texts."""
        found = []
        for context, continuation in (each.args for each in requests):
            answer = self._told.likelihoods([(context, continuation)])[0]
            self.cache_hook.add_partial("loglikelihood", (context, continuation), answer)
            found.append(answer)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Of each whole text."""
        return [self._told.rolling(text) for (text,) in (each.args for each in requests)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy alone. Raises UsageError for a request that asks for chance."""
        found = []
        for context, how in (each.args for each in requests):
            if how.get("do_sample") and float(how.get("temperature") or 0) > 0:
                raise UsageError("the next token is the likeliest one: nothing is drawn", hint="do_sample=False")
            until = [how["until"]] if isinstance(how.get("until"), str) else list(how.get("until") or [])
            most = int(how.get("max_gen_toks") or MOST_TOKENS)
            text = self._told.told(self._told.continued(context, until=until, most=most))
            for stop in until:
                text = text.split(stop)[0] if stop else text
            found.append(text)
        return found

    def close(self) -> None:
        """End the runtime's child; it ends with this process in any case."""
        self._stack.close()


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
