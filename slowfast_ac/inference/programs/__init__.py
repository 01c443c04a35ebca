"""Programs that run without this package: ONNX, OpenVINO and PyTorch's ``.pt2``."""
