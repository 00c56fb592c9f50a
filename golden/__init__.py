"""The golden: any ONNX graph in PyTorch, operator by operator, in float64 and float32."""
