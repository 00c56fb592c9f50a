"""The measured half of docs/architectures.md; what stands above its heading is written by hand and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.architecture.compared import COLUMNS, Trend, falls, lost, points, share
from benchmarks.architecture.designs import DELIVERED, DESIGNS, IN_WORDS, POOLED, parameters
from benchmarks.architecture.judged import NOISES, Judged
from benchmarks.section import table

from sysnoise_conform.models.zoo.paper import table as published

HEADING = "## Measured"
Networks = Mapping[str, Mapping[int, Judged]]  # by design, by seed

# Which networks stand in an order, and by what: the ends of what the paper calls larger.
ORDERS: Mapping[str, tuple[str, ...]] = {
    "width": ("half", DELIVERED, "double"),
    "depth": ("shallow", DELIVERED, "deep"),
    "a MaxPool, none": (DELIVERED, "stride"),
}
FAMILIES: Mapping[str, str] = {
    "ResNet": "resnet-", "MobileNetV2": "mobilenetv2-", "RegNetX": "regnetx-", "EfficientNet": "efficientnet-",
    "ViT": "vit-", "Swin": "swin-",
}  # fmt: skip
_PUBLISHED = ("decode_mean", "resize_mean", "colour", "int8", "ceil_mode", "combined")


def written(page: Path, networks: Networks) -> None:
    """Write what was measured under its heading."""
    above = page.read_text(encoding="utf-8").partition(HEADING)[0] if page.exists() else ""
    page.write_text(above + measured(networks), encoding="utf-8")


def measured(networks: Networks) -> str:
    """All of it, the heading first."""
    some = next(iter(next(iter(networks.values())).values())).told
    count, runtime = some["samples"], some["runtimes"]["ort"]
    parts = (
        HEADING,
        "Written by `python tests/benchmarks/architectures.py --page docs/architectures.md`; from here on do not edit "
        f"it by hand. {count} held-out pictures of `tiny-cls`, the same for all; {runtime} against itself, "
        f"{some['environment']['cpu']}; PyTorch {some['environment']['packages']['torch'].partition('+')[0]}. "
        "Intervals are of 90 % over pictures.",
        "### The mean over a noise's levels", _means(networks),
        "### Against tiny-cls as it is", _differences(networks),
        "### Every network, and the level that costs it most", _each(networks),
        "### Whether the larger lose less", _trends(networks),
        "### The same of the paper's Table 2", _published(),
    )  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _means(networks: Networks) -> str:
    rows = []
    for name, seeds in networks.items():
        of = list(seeds.values())
        cells = [_unless_absent(name, column, str(share(lost(of, column)))) for column in COLUMNS]
        top = sum(each.top1 for each in of) / len(of)
        rows.append([IN_WORDS[name], f"{parameters(DESIGNS[name]):,}", points(top), *cells])
    text = table(["design", "parameters", "top-1, %", *COLUMNS], rows)
    seeds = {len(each) for each in networks.values()}
    return f"Points lost, in the mean over the trainings of each ({_numbers(seeds)}, see below).\n\n{text}"


def _differences(networks: Networks) -> str:
    base = list(networks[DELIVERED].values())
    rows = []
    for name, seeds in networks.items():
        if name != DELIVERED:
            cells = [
                _unless_absent(name, column, str(share(lost(list(seeds.values()), column) - lost(base, column))))
                for column in COLUMNS
            ]
            rows.append([IN_WORDS[name], *cells])
    apart = [_apart(networks, column) for column in COLUMNS]
    rows.append(["largest difference between two trainings of one design", *apart])
    return (
        "Points more that a design loses than tiny-cls does on the same pictures. The interval is over pictures, not "
        "over trainings: what the last line shows can come from another seed alone.\n\n"
        + table(["design", *COLUMNS], rows)
    )


def _apart(networks: Networks, column: str) -> str:
    found = []
    for seeds in networks.values():
        drops = [100 * float(lost([each], column).mean()) for each in seeds.values()]
        found.append(max(drops) - min(drops))
    return points(max(found))


def _each(networks: Networks) -> str:
    rows = []
    for name, seeds in networks.items():
        for seed, network in seeds.items():
            cells = [_cell(network.worst(axis)) for axis in NOISES if axis != "precision"]
            cells += [_cell(network.cell("precision", each)) for each in ("int8", "fp16")]
            together = network.told["combined"]
            cells.append(_cell(together[-1]) if together else "–")
            rows.append([IN_WORDS[name], str(seed), points(network.top1), *cells])
    head = ["design", "seed", "top-1, %", *(each.replace("_", " ") for each in NOISES if each != "precision")]
    return (
        "Points lost with `conform noise`'s own interval (Tango's, of pairs). **Bold** stands out: p < 0.05 by "
        "McNemar's test, corrected by Holm's method for all cells of the network. The largest of several drops is too "
        "large by chance; the one together is told on the half of the pictures that its levels were not chosen on.\n\n"
        + table([*head, "int8", "fp16", "together"], rows)
    )


def _cell(cell: Mapping[str, object] | None) -> str:
    if cell is None or cell["delta"] is None:
        return "–"
    low, high = cell["ci"]  # type: ignore[misc]
    text = f"{points(cell['delta'])} ({points(low)} to {points(high)})"  # type: ignore[arg-type]
    p = cell.get("p_holm")
    return f"**{text}**" if isinstance(p, float) and p < 0.05 else text


def _trends(networks: Networks) -> str:
    rows = []
    for words, names in ORDERS.items():
        cells = [_told(_trend(networks, names, column)) if _asked(names, column) else "–" for column in COLUMNS]
        rows.append([words, str(sum(len(networks[each]) for each in names)), *cells])
    asked = sum(_asked(names, column) for names in ORDERS.values() for column in COLUMNS)
    return (
        "Spearman's rank correlation of the mean drop with the order (half, whole, double; 3, 5, 10 blocks; with a "
        "MaxPool, with a convolution), each training a network; and the one-sided chance of one as low, by all ways of "
        "dealing the drops out. "
        f"−1: each step loses less. Of {asked} such chances one in twenty is below 0.05 where nothing is.\n\n"
        + table(["order", "networks", *COLUMNS], rows)
    )


def _asked(names: Sequence[str], column: str) -> bool:
    return column != "ceil mode" or all(each in POOLED for each in names)


def _trend(networks: Networks, names: Sequence[str], column: str) -> Trend:
    order, drops = [], []
    for at, name in enumerate(names):
        for each in networks[name].values():
            order.append(float(at))
            drops.append(100 * float(lost([each], column).mean()))
    return falls(order, drops)


def _told(trend: Trend) -> str:
    return f"{trend.rho:.2f}".replace("-", "−") + f" (p {trend.p:.2g})"


def _published() -> str:
    rows = []
    for family, begin in FAMILIES.items():
        members = [each.figures for each in published("table2").rows if each.member.startswith(begin)]
        cells = []
        for column in _PUBLISHED:
            known = [(at, each[column]) for at, each in enumerate(members) if column in each]
            cells.append(_told(falls([at for at, _ in known], [drop for _, drop in known])) if len(known) > 2 else "–")
        rows.append([family, str(len(members)), *cells])
    return (
        "The same test on the published figures, each family in the order of its sizes. They are single trainings on "
        "ImageNet; [some cells contradict others](paper-tables.md).\n\n"
        + table(["family", "models", *(each.replace("_", " ") for each in _PUBLISHED)], rows)
    )


def _unless_absent(name: str, column: str, text: str) -> str:
    return "no pooling" if column == "ceil mode" and name not in POOLED else text


def _numbers(counts: set[int]) -> str:
    return " or ".join(str(each) for each in sorted(counts))
