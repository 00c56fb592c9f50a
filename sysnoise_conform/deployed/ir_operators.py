"""The operators of OpenVINO's opsets: a published opset never changes, so an operator that it lacks is a mistake.

As openvino/opsets/opset*_tbl.hpp of OpenVINO 2026.4 have them.
"""

from __future__ import annotations

from itertools import accumulate

from sysnoise_conform.printable import one_line

# Opset -> what it has beside the operators of the opset before it.
_NEW = {
    1: (
        "Abs Acos Add Asin Atan AvgPool BatchNormInference BinaryConvolution Broadcast CTCGreedyDecoder Ceiling Clamp"
        " Concat Constant Convert ConvertLike Convolution ConvolutionBackpropData Cos Cosh DeformableConvolution"
        " DeformablePSROIPooling DepthToSpace DetectionOutput Divide Elu Equal Erf Exp FakeQuantize Floor FloorMod GRN"
        " Gather GatherTree Greater GreaterEqual GroupConvolution GroupConvolutionBackpropData HardSigmoid Interpolate"
        " LRN LSTMCell Less LessEqual Log LogicalAnd LogicalNot LogicalOr LogicalXor MatMul MaxPool Maximum Minimum"
        " Mod Multiply Negative NonMaxSuppression NormalizeL2 NotEqual OneHot PRelu PSROIPooling Pad Parameter Power"
        " PriorBox PriorBoxClustered Proposal RNNCell Range ReduceLogicalAnd ReduceLogicalOr ReduceMax ReduceMean"
        " ReduceMin ReduceProd ReduceSum RegionYolo Relu Reshape Result Reverse ReverseSequence Select Selu ShapeOf"
        " ShuffleChannels Sigmoid Sign Sin Sinh Softmax SpaceToDepth Split Sqrt SquaredDifference Squeeze StridedSlice"
        " Subtract Tan Tanh TensorIterator Tile TopK Transpose Unsqueeze VariadicSplit Xor"
    ),
    2: "BatchToSpace Gelu MVN ROIPooling ReorgYolo SpaceToBatch",
    3: (
        "Assign Bucketize CumSum EmbeddingBagOffsetsSum EmbeddingBagPackedSum EmbeddingSegmentsSum"
        " ExtractImagePatches GRUCell NonZero RNNCell ROIAlign ReadValue ScatterElementsUpdate ScatterUpdate"
        " ShuffleChannels"
    ),
    4: "Acosh Asinh Atanh CTCLoss HSwish Mish ReduceL1 ReduceL2 ScatterNDUpdate SoftPlus Swish",
    5: "GRUSequence GatherND HSigmoid LSTMSequence LogSoftmax Loop RNNSequence Round",
    6: (
        "CTCGreedyDecoderSeqLen ExperimentalDetectronDetectionOutput"
        " ExperimentalDetectronGenerateProposalsSingleImage ExperimentalDetectronPriorGridGenerator"
        " ExperimentalDetectronROIFeatureExtractor ExperimentalDetectronTopKROIs GatherElements"
    ),
    7: "DFT Einsum IDFT Roll",
    8: (
        "AdaptiveAvgPool AdaptiveMaxPool I420toBGR I420toRGB If MatrixNms MulticlassNms NV12toBGR NV12toRGB"
        " RandomUniform Slice"
    ),
    9: "Eye GenerateProposals GridSample IRDFT RDFT SoftSign",
    10: "IsFinite IsInf IsNaN Unique",
    12: "GroupNormalization",
    13: (
        "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor FakeConvert Multinomial NMSRotated ScaledDotProductAttention"
    ),
    14: "ConvertPromoteTypes Inverse",
    15: (
        "BitwiseLeftShift BitwiseRightShift Col2Im EmbeddingBagOffsets EmbeddingBagPacked ROIAlignRotated STFT"
        " SearchSorted SliceScatter StringTensorPack StringTensorUnpack"
    ),
    16: "ISTFT Identity SegmentMax SparseFillEmptyRows",
}
_GONE = {2: "RNNCell Reverse ShuffleChannels Xor"}
# The newest opset may still grow, and an extension may hold anything: what these have, their runtime knows.
_OPEN = ("opset17", "extension")
# Before they got an opset they were said to be of one of these; GRUCell and RNNCell had another form then.
_EXPERIMENTAL = (
    "ExperimentalDetectronDetectionOutput ExperimentalDetectronGenerateProposalsSingleImage GRUCell Proposal RNNCell"
    " ExperimentalDetectronPriorGridGenerator ExperimentalDetectronROIFeatureExtractor ExperimentalDetectronTopKROIs"
)
# In an IR alone: names of old, and operators that opset1 lacks although files say so.
_ALIASES = {"const": "constant"}
_SAID_TO_BE_OF_1 = "MVN ROIPooling ReorgYolo"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.lower().split())  # OpenVINO looks them up without regard to case


def _next(before: frozenset[str], number: int) -> frozenset[str]:
    return (before - _names(_GONE.get(number, ""))) | _names(_NEW.get(number, ""))


_FROZEN = list(accumulate(range(1, 17), _next, initial=frozenset[str]()))[1:]
OPSETS: dict[str, frozenset[str]] = {f"opset{number}": each for number, each in enumerate(_FROZEN, 1)} | {
    "experimental": _names(_EXPERIMENTAL)
}


def why_not(kind: str, opset: str) -> str | None:
    """What is wrong with an operator of this opset, in words; None where nothing is, or where it can't be known."""
    if opset in _OPEN:
        return None
    known = OPSETS.get(opset)
    if known is None:
        return f"is of {one_line(opset, 30)!r}, which is no opset that this version of conform knows"
    if opset == "opset1":
        known |= _names(_SAID_TO_BE_OF_1)
    name = kind.lower()
    if _ALIASES.get(name, name) not in known:
        return f"is of the type {one_line(kind, 40)!r}, which {opset} does not have"
    return None
