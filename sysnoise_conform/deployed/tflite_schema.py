"""TensorFlow Lite's file format as `flatbuffer.Reader` takes it.

Field names and slots are those of tensorflow/compiler/mlir/lite/schema/schema.fbs, as ai-edge-litert 2.3.0 has it. `_`
is a slot that is gone from the format. A field whose name ends with `subgraph` or `subgraphs` is an index of subgraphs.
"""

from __future__ import annotations

_CONV3D = "padding:b stride_d:i stride_w:i stride_h:i activation:b dilation_d:i=1 dilation_w:i=1 dilation_h:i=1"

# BuiltinOptions: number of the union's type -> its fields; the empty ones are tables without any.
_OPTIONS: dict[int, str] = dict.fromkeys(range(1, 127), "") | {
    1: "padding:b stride_w:i stride_h:i activation:b dilation_w:i=1 dilation_h:i=1 bias_type:b",  # Conv2D
    2: "padding:b stride_w:i stride_h:i multiplier:i activation:b dilation_w:i=1 dilation_h:i=1",  # DepthwiseConv2D
    3: "channels:i columns:[i] dims:[i]",  # ConcatEmbeddings
    4: "type:b",  # LSHProjection
    5: "padding:b stride_w:i stride_h:i filter_width:i filter_height:i activation:b",  # Pool2D
    6: "rank:i activation:b asymmetric:b",  # SVDF
    7: "activation:b asymmetric:b",  # RNN
    8: "activation:b weights_format:b keep_num_dims:b asymmetric:b bias_type:b quant_spec:[B]",  # FullyConnected
    9: "beta:f",  # Softmax
    10: "axis:i activation:b",  # Concatenation
    11: "activation:b pot_scale:b",  # Add
    12: "activation:b",  # L2Norm
    13: "radius:i bias:f alpha:f beta:f",  # LocalResponseNormalization
    14: "activation:b cell_clip:f proj_clip:f kernel_type:b asymmetric:b",  # LSTM
    15: "_ _ align_corners:b half_pixel_centers:b",  # ResizeBilinear
    16: "callee_subgraph:I",  # Call
    17: "new_shape:[i]",  # Reshape
    18: "ngram_size:i max_skip_size:i all_ngrams:b",  # SkipGram
    19: "block_size:i",  # SpaceToDepth
    20: "combiner:b",  # EmbeddingLookupSparse
    21: "activation:b",  # Mul
    23: "axis:i batch_dims:i",  # Gather
    27: "keep_dims:b",  # Reducer
    28: "activation:b pot_scale:b",  # Sub
    29: "activation:b",  # Div
    30: "squeeze_dims:[i]",  # Squeeze
    31: "time_major:b activation:b asymmetric:b",  # SequenceRNN
    32: "begin_mask:i end_mask:i ellipsis_mask:i new_axis_mask:i shrink_axis_mask:i offset:b",  # StridedSlice
    35: "num_splits:i",  # Split
    37: "in_type:b out_type:b",  # Cast
    40: "output_type:b",  # ArgMax
    49: "padding:b stride_w:i stride_h:i activation:b bias_type:b",  # TransposeConv
    50: "validate_indices:b",  # SparseToDense
    55: "out_type:b",  # Shape
    57: "output_type:b",  # ArgMin
    58: "min:f max:f num_bits:i narrow_range:b",  # FakeQuant
    59: "values_count:i axis:i",  # Pack
    61: "axis:i",  # OneHot
    64: "num:i axis:i",  # Unpack
    69: "activation:b cell_clip:f proj_clip:f merge_outputs:b time_major:b asymmetric:b",  # BidirectionalSequenceLSTM
    70: "time_major:b activation:b merge_outputs:b asymmetric:b",  # BidirectionalSequenceRNN
    71: "activation:b cell_clip:f proj_clip:f time_major:b asymmetric:b diagonal:b",  # UnidirectionalSequenceLSTM
    74: "align_corners:b half_pixel_centers:b",  # ResizeNearestNeighbor
    75: "alpha:f",  # LeakyRelu
    77: "mode:b",  # MirrorPad
    79: "num_splits:i",  # SplitV
    80: "idx_out_type:b",  # Unique
    87: "seq_dim:i batch_dim:i",  # ReverseSequence
    92: "then_subgraph:i else_subgraph:i",  # If
    93: "cond_subgraph:i body_subgraph:i",  # While
    94: "block_size:i",  # DepthToSpace
    101: "adj_x:b adj_y:b asymmetric:b",  # BatchMatMul
    102: "exclusive:b reverse:b",  # Cumsum
    103: "init_subgraph:i",  # CallOnce
    106: _CONV3D,  # Conv3D
    107: "table_id:i key_type:b value_type:b",  # Hashtable
    111: "container:str shared_name:str",  # VarHandle
    114: "seed:q seed2:q",  # Random
    115: "boundaries:[f]",  # Bucketize
    116: "approximate:b",  # Gelu
}

# BuiltinOptions2, the same.
_OPTIONS2: dict[int, str] = {
    1: "dimension:q",  # StablehloConcatenate
    2: "broadcast_dimensions:[q]",  # StablehloBroadcastInDim
    3: "start_indices:[q] limit_indices:[q] strides:[q]",  # StablehloSlice
    4: (  # StablehloConvolution
        "window_strides:[q] padding:[q] lhs_dilation:[q] rhs_dilation:[q] window_reversal:[B] input_batch:q"
        " input_feature:q input_spatial:[q] kernel_input_feature:q kernel_output_feature:q kernel_spatial:[q]"
        " output_batch:q output_feature:q output_spatial:[q] feature_groups:q batch_groups:q precision:[I]"
    ),
    5: "target:str side_effect:b config:str api_version:i called_subgraphs:[i] attributes:[B]",  # StablehloCustomCall
    6: "dimensions:[q] body_subgraph:i",  # StablehloReduce
    7: (  # StablehloScatter
        "sorted:b update_window:[q] inserted_window:[q] scatter_dims:[q] index_vector_dim:q unique:b update_subgraph:i"
    ),
    8: "direction:I type:I",  # StablehloCompare
    9: "slice_sizes:[q]",  # StablehloDynamicSlice
    10: "low:[q] high:[q] interior:[q]",  # StablehloPad
    11: "iota_dimension:q",  # StablehloIota
    12: "lhs_batch:[q] rhs_batch:[q] lhs_contracting:[q] rhs_contracting:[q] precision:[I]",  # StablehloDotGeneral
    # StablehloReduceWindow
    13: "window:[q] strides:[q] base_dilations:[q] window_dilations:[q] padding:[q] body_subgraph:i",
    14: "dimension:q is_stable:b comparator_subgraph:i",  # StablehloSort
    15: "cond_subgraph:i body_subgraph:i",  # StablehloWhile
    16: (  # StablehloGather
        "offset_dims:[q] collapsed_slice_dims:[q] start_index_map:[q] index_vector_dim:q slice_sizes:[q] sorted:b"
    ),
    17: "permutation:[q]",  # StablehloTranspose
    18: "",  # Dilate
    19: "algorithm:b",  # StablehloRngBitGenerator
    20: "function:i",  # ReduceWindow
    21: "name:str decomposition_subgraph:i attributes:[B] format:b version:i",  # StableHLOComposite
    22: "",  # StablehloShiftLeft
    23: "branch_subgraphs:[i]",  # StablehloCase
}

_TABLES = {
    "Model": (
        "version:I operator_codes:[OperatorCode] subgraphs:[SubGraph] description:str buffers:[Buffer]"
        " metadata_buffer:[i] metadata:[Metadata] signature_defs:[SignatureDef] external_groups:[ExternalGroup]"
        " external_buffers:[ExternalBuffer]"
    ),
    "OperatorCode": "deprecated_code:b custom_code:str version:i code:i",
    "SubGraph": "tensors:[Tensor] inputs:[i] outputs:[i] operators:[Operator] name:str debug:i",
    "Buffer": "data:[B] offset:Q size:Q",
    "Metadata": "name:str buffer:I",
    "SignatureDef": "inputs:[TensorMap] outputs:[TensorMap] key:str _ index:I",
    "TensorMap": "name:str tensor:I",
    "ExternalGroup": "name:str",
    "ExternalBuffer": "id:I group:I offset:Q length:Q packing:str",
    "Tensor": (
        "shape:[i] type:b buffer:I name:str quantization:Quantization is_variable:b sparsity:Sparsity signature:[i]"
        " has_rank:b variants:[Variant] external_buffer:I"
    ),
    "Quantization": "min:[f] max:[f] scale:[f] zero_point:[q] details_type:B details:|Details dimension:i",
    "CustomQuantization": "custom:[B]",
    "BlockwiseQuantization": "scales:i zero_points:i block_size:i block_shape:[i]",
    "MultiAxisQuantization": "scales:i zero_points:i block_size:i dimensions:[i]",
    "Sparsity": "traversal_order:[i] block_map:[i]",
    "Variant": "shape:[i] type:b has_rank:b",
    "Operator": (
        "opcode:I inputs:[i] outputs:[i] options_type:B options:|Options custom_options:[B] custom_format:b"
        " mutating:[B] intermediates:[i] large_offset:Q large_size:Q options2_type:B options2:|Options2 debug:i"
    ),
}

SCHEMA: dict[str, str] = (
    _TABLES
    | {f"Options{number}": fields for number, fields in _OPTIONS.items()}
    | {f"Options2.{number}": fields for number, fields in _OPTIONS2.items()}
)
UNIONS: dict[str, dict[int, str]] = {
    "Details": {1: "CustomQuantization", 2: "BlockwiseQuantization", 3: "MultiAxisQuantization"},
    "Options": {number: f"Options{number}" for number in _OPTIONS},
    "Options2": {number: f"Options2.{number}" for number in _OPTIONS2},
}

STRING = 5
# TensorType: the name, and the bits of one element; None where elements have no fixed size.
TYPES: dict[int, tuple[str, int | None]] = {
    0: ("FLOAT32", 32), 1: ("FLOAT16", 16), 2: ("INT32", 32), 3: ("UINT8", 8), 4: ("INT64", 64),
    STRING: ("STRING", None), 6: ("BOOL", 8), 7: ("INT16", 16), 8: ("COMPLEX64", 64), 9: ("INT8", 8),
    10: ("FLOAT64", 64), 11: ("COMPLEX128", 128), 12: ("UINT64", 64), 13: ("RESOURCE", None), 14: ("VARIANT", None),
    15: ("UINT32", 32), 16: ("UINT16", 16), 17: ("INT4", 4), 18: ("BFLOAT16", 16), 19: ("INT2", 2), 20: ("UINT4", 4),
    21: ("FLOAT8_E4M3FN", 8), 22: ("FLOAT8_E5M2", 8),
}  # fmt: skip
CUSTOM = 32  # BuiltinOperator: the operator that its custom_code names
LAST_BUILTIN = 209
