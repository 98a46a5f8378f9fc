"""What is handed on: reports, plots, model cards, the Hub, ONNX."""
