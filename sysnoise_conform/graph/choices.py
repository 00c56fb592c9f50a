"""Attributes for which the ONNX text lists words: they hold one of these."""

from __future__ import annotations

from onnx import AttributeProto, NodeProto

from sysnoise_conform.errors import BadModel
from sysnoise_conform.graph.walk import named, quoted

_PADDINGS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_SCATTERED = ("none", "add", "mul", "max", "min")
_LOSSES = ("none", "sum", "mean")
_BLOCKS = ("DCR", "CRD")

# Operators of the default domain -> attribute -> its words, those of all versions together.
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "AveragePool": {"auto_pad": _PADDINGS},
    "BitShift": {"direction": ("LEFT", "RIGHT")},
    "Cast": {"round_mode": ("up", "down", "nearest")},
    "CastLike": {"round_mode": ("up", "down", "nearest")},
    "Conv": {"auto_pad": _PADDINGS},
    "ConvInteger": {"auto_pad": _PADDINGS},
    "ConvTranspose": {"auto_pad": _PADDINGS},
    "DepthToSpace": {"mode": _BLOCKS},
    "GRU": {"direction": _DIRECTIONS},
    "Gelu": {"approximate": ("none", "tanh")},
    "GridSample": {
        "mode": ("bilinear", "linear", "nearest", "bicubic", "cubic"),
        "padding_mode": ("zeros", "border", "reflection"),
    },
    "LSTM": {"direction": _DIRECTIONS},
    "LpPool": {"auto_pad": _PADDINGS},
    "MaxPool": {"auto_pad": _PADDINGS},
    "NegativeLogLikelihoodLoss": {"reduction": _LOSSES},
    "Pad": {"mode": ("constant", "reflect", "edge", "wrap")},
    "QLinearConv": {"auto_pad": _PADDINGS},
    "RNN": {"direction": _DIRECTIONS},
    "Resize": {
        "mode": ("nearest", "linear", "cubic"),
        "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        "coordinate_transformation_mode": (
            "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
            "tf_half_pixel_for_nn", "tf_crop_and_resize",
        ),
        "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    },
    "RoiAlign": {"mode": ("avg", "max"), "coordinate_transformation_mode": ("half_pixel", "output_half_pixel")},
    "ScatterElements": {"reduction": _SCATTERED},
    "ScatterND": {"reduction": _SCATTERED},
    "SoftmaxCrossEntropyLoss": {"reduction": _LOSSES},
    "SpaceToDepth": {"mode": _BLOCKS},
    "StringNormalizer": {"case_change_action": ("LOWER", "UPPER", "NONE")},
    "TensorScatter": {"mode": ("linear", "circular")},
    "TfIdfVectorizer": {"mode": ("TF", "IDF", "TFIDF")},
    "Upsample": {"mode": ("nearest", "linear")},
}  # fmt: skip


def check_words(node: NodeProto) -> None:
    """Raise BadModel for a word that the operator does not know. The attributes' text must have been checked."""
    words = _WORDS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if words is None:
        return
    for attribute in node.attribute:
        known = words.get(attribute.name)
        if known is None or attribute.type != AttributeProto.STRING or attribute.ref_attr_name:
            continue
        word = attribute.s.decode()
        if word not in known:
            listed = f"{', '.join(known[:-1])} and {known[-1]}"
            raise BadModel(f"{named(node)}: {attribute.name} is {quoted(word)}; the text knows {listed}")
