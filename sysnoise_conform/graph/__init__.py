"""ONNX surgery: load safely, bind, tap. Everything a diagnosis does to a graph is done here.."""
