"""The exact versions of what is installed around its own metadata, without its dependencies."""

# onnx2tf's metadata refuses Python 3.11, where its code works, and pins what clashes with every other runtime.
ONNX2TF = ("onnx2tf==2.6.9", "sng4onnx==2.0.1", "sne4onnx==2.0.1")
