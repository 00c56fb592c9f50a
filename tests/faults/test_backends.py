"""Whatever a backend does, its own cells are lost and named in time, and all others are measured as if alone."""

from __future__ import annotations

from pathlib import Path

import faulty
import pytest
from faults.observed import Make, Run, until

pytestmark = pytest.mark.faults

NAMED_WITHIN_S = 1.0
SIGNALS = {
    "segfault": ("SIGSEGV", "crash"),
    "abort": ("SIGABRT", "crash"),
    "divide": ("SIGFPE", "crash"),
    "kill": ("SIGKILL", "memory"),  # the kernel's own, when memory is short; nobody else sends it
    "leave": (None, "crash"),
    "close_channel": (None, "crash"),
    "write_everywhere": (None, "crash"),
}
DEATHS = [f"subject+does={each}+at={at}" for each in faulty.DEADLY for at in ("compile", "run")]
HANGS = ["subject+does=hang+at=compile", "subject+does=hang+at=run", "hangs_at_probe"]
LAYERS_LOST = ["subject+does=hang+at=layers", "subject+does=segfault+at=layers"]
TIMEOUT_S = 4.0


def facts(run: Run, variant: str) -> dict[str, object]:
    """What the report holds of a variant that has no measurement."""
    return next(dict(each) for each in run.records() if each["record"] == "outcome" and each["variant"] == variant)


def check_others(run: Run, clean: Run) -> None:
    assert run.numbers("subject") == clean.numbers("subject")
    assert run.variant("subject")["verdict"] == "PASS"
    assert "Traceback" not in run.stdout + run.stderr
    assert until(lambda: not run.mine(), within_s=1)
    assert run.left() == []


@pytest.fixture(scope="module")
def deaths(make: Make, model: Path, clean: Run) -> Run:
    names = ",".join(["subject", *DEATHS, "dies_at_probe", "subject+does=segfault+at=close"])
    return make().start("run", "-n", "1", "-m", model, "-b", names, "-o", "out").finish()


@pytest.mark.parametrize("variant", [*DEATHS, "dies_at_probe"])
def test_a_death_is_named_within_a_second_with_stage_and_signal(deaths: Run, variant: str) -> None:
    does, _, at = variant.removeprefix("subject+does=").partition("+at=")
    outcome = facts(deaths, variant)
    told = outcome["facts"]
    assert isinstance(told, dict)

    assert outcome["outcome"] == "Crashed"
    assert (told["signal"], told["cause"]) == SIGNALS.get(does, ("SIGSEGV", "crash"))
    assert told["stage"] == (at or "probe")
    took = deaths.named[variant] - deaths.stamp(f"{does}-{at or 'probe'}")
    assert took <= NAMED_WITHIN_S + deaths.lateness, f"{took:.2f} s; the observer was {deaths.lateness:.2f} s late"


def test_a_death_after_the_last_answer_costs_nothing(deaths: Run, clean: Run) -> None:
    assert deaths.numbers("subject+does=segfault+at=close") == clean.numbers("subject")


def test_many_deaths_cost_the_living_nothing_and_are_exit_code_3(deaths: Run, clean: Run) -> None:
    assert deaths.code == 3
    check_others(deaths, clean)


@pytest.fixture(scope="module")
def hangs(make: Make, model: Path, clean: Run) -> Run:
    names = ",".join(["subject", *HANGS, *LAYERS_LOST])
    return make().start("run", "-n", "1", "-m", model, "-b", names, "-o", "out", "--timeout", str(TIMEOUT_S)).finish()


@pytest.mark.parametrize("variant", HANGS)
def test_a_hang_that_holds_pythons_lock_is_named_at_the_limit(hangs: Run, variant: str) -> None:
    does, _, at = variant.removeprefix("subject+does=").partition("+at=")
    told = facts(hangs, variant)["facts"]
    assert isinstance(told, dict)

    assert (told["cause"], told["stage"]) == ("timeout", at or "probe")
    took = hangs.named[variant] - hangs.stamp(f"{does}-{at or 'probe'}")
    assert took <= TIMEOUT_S + 2 + hangs.lateness, f"{took:.2f} s"


@pytest.mark.parametrize("variant", LAYERS_LOST)
def test_who_falls_over_a_tapped_graph_loses_layers_and_no_output(hangs: Run, clean: Run, variant: str) -> None:
    found = hangs.variant(variant)
    outputs = [each for each in clean.numbers("subject") if '"role": "outputs"' in each]

    assert [each for each in hangs.numbers(variant) if '"role": "outputs"' in each] == outputs
    assert (found["status"], found["verdict"], found["layers"]["total"]) == ("measured", "PASS", 4)
    assert found["layers"]["observable"] <= 2  # of the outputs, which are layers too
    if "hang" in variant:
        took = hangs.named[variant] - hangs.stamp("hang-layers")
        assert took <= TIMEOUT_S + 2 + hangs.lateness, f"{took:.2f} s"


def test_hangs_cost_the_living_nothing_and_are_exit_code_3(hangs: Run, clean: Run) -> None:
    assert hangs.code == 3
    check_others(hangs, clean)


@pytest.fixture(scope="module")
def hungry(make: Make, model: Path, clean: Run) -> Run:
    names = "subject,subject+does=eat+at=compile,subject+does=eat+at=run"
    return make().start("run", "-n", "1", "-m", model, "-b", names, "-o", "out", "--memory", "600M").finish()


@pytest.mark.parametrize("at", ["compile", "run"])
def test_who_eats_memory_is_stopped_at_its_limit(hungry: Run, at: str) -> None:
    told = facts(hungry, f"subject+does=eat+at={at}")["facts"]
    assert isinstance(told, dict)

    assert (told["cause"], told["stage"]) == ("memory", at)
    assert "--memory allows it 600 MiB" in str(told["why"])


def test_who_eats_memory_costs_the_living_nothing(hungry: Run, clean: Run) -> None:
    assert hungry.code == 3
    check_others(hungry, clean)


NOISY = [f"subject+does={each}+at={at}" for each in faulty.HARMLESS for at in ("compile", "run")]


@pytest.fixture(scope="module")
def noisy(make: Make, model: Path, clean: Run) -> Run:
    names = ",".join(["subject", *NOISY])
    return make().start("run", "-n", "1", "-m", model, "-b", names, "-o", "out").finish()


def test_floods_and_grandchildren_are_bounded_and_measured_all_the_same(noisy: Run, clean: Run) -> None:
    assert noisy.code == 0
    for each in NOISY:
        assert noisy.numbers(each) == clean.numbers("subject")
    assert all(each.stat().st_size < 1_200_000 for each in (noisy.out / "logs").iterdir())
    check_others(noisy, clean)


@pytest.mark.parametrize("at", ["compile", "run", "close"])
def test_who_changes_its_process_changes_no_other(make: Make, model: Path, clean: Run, at: str) -> None:
    variant = f"subject+does=disturb+at={at}"
    run = make().start("run", "-n", "1", "-m", model, "-b", f"{variant},subject", "-o", "out").finish()

    assert run.code in (0, 3, 5), run.stderr + run.stdout
    check_others(run, clean)
    assert (run.out / "summary.json").stat().st_mode & 0o777 == (clean.out / "summary.json").stat().st_mode & 0o777


RAISED = [
    *(f"subject+does={each}+at=run" for each in faulty.RAISING),
    *(f"subject+does={each}+at=compile" for each in ("exit", "underground", "unprintable")),
]


@pytest.fixture(scope="module")
def raised(make: Make, model: Path, clean: Run) -> Run:
    names = ",".join(["subject", *RAISED])
    return make().start("run", "-n", "1", "-m", model, "-b", names, "-o", "out").finish()


@pytest.mark.parametrize("variant", RAISED)
def test_whatever_is_raised_is_a_refusal_with_its_stage(raised: Run, variant: str) -> None:
    outcome = facts(raised, variant)
    told = outcome["facts"]
    assert isinstance(told, dict)

    assert (outcome["outcome"], told["stage"]) == ("Unsupported", variant.rpartition("=")[2])
    assert len(str(told["why"])) <= 600
    assert str(told["why"]).isprintable()


def test_whatever_is_raised_costs_the_living_nothing_and_is_exit_code_5(raised: Run, clean: Run) -> None:
    assert raised.code == 5
    check_others(raised, clean)
    assert all(each.isprintable() for each in raised.stdout.splitlines())
    assert all((raised.out / name).stat().st_size < 1_000_000 for name in ("report.jsonl", "report.html", "junit.xml"))


# What each wrong answer is: the status and the verdict of its variant, and a word that the reader finds.
ANSWERS = {
    "wrong_names": ("measured", "INCONCLUSIVE", "the runtime did not return it"),
    "missing": ("measured", "INCONCLUSIVE", "the runtime did not return it"),
    "extra": ("measured", "PASS", ""),
    "wrong_shape": ("measured", "FAIL", "shape"),
    "wrong_dtype": ("measured", "FAIL", "DOUBLE"),
    "nan": ("measured", "FAIL", "NaN"),
    "objects": ("unsupported", "INCONCLUSIVE", "float, which can't travel"),
    "strided": ("measured", "PASS", ""),
    "fortran": ("measured", "PASS", ""),
    "big_endian": ("measured", "PASS", ""),
    "read_only": ("measured", "PASS", ""),
    "huge": ("crashed", "INCONCLUSIVE", "memory"),
    "nothing": ("unsupported", "INCONCLUSIVE", "NoneType"),
    "list": ("unsupported", "INCONCLUSIVE", "list"),
    "numbers": ("unsupported", "INCONCLUSIVE", "tensors by name"),
    "nones": ("unsupported", "INCONCLUSIVE", "NoneType"),
    "empty": ("measured", "INCONCLUSIVE", "the runtime did not return it"),
}


@pytest.fixture(scope="module")
def answers(make: Make, model: Path, clean: Run) -> Run:
    names = ",".join(["subject", *(f"subject+does={each}" for each in ANSWERS)])
    return make().start("run", "-n", "1", "-m", model, "-b", names, "-o", "out").finish()


@pytest.mark.parametrize("does", faulty.ANSWERS)
def test_a_wrong_answer_is_found_and_an_odd_form_of_the_right_one_is_not(
    answers: Run, clean: Run, does: str
) -> None:
    variant = f"subject+does={does}"
    status, verdict, words = ANSWERS[does]
    found = answers.variant(variant)

    assert (found["status"], found["verdict"]) == (status, verdict), found
    assert words in str(found)
    if verdict == "PASS":
        assert answers.numbers(variant) == clean.numbers("subject")


def test_wrong_answers_cost_the_living_nothing_and_a_measured_failure_wins(answers: Run, clean: Run) -> None:
    assert answers.code == 1
    assert sorted(answers.summary()["exit_codes"]) == [0, 1, 3, 5]
    check_others(answers, clean)
