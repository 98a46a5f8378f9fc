"""ONNX Runtime, which is to tell nobody what it runs."""

import os
from typing import Any


def onnx_runtime() -> Any:
    """Return ONNX Runtime; as it comes, it sends facts about models and machine to its maker.

    Raises:
        ImportError: It is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # which it reads as it is imported
    import onnxruntime

    return onnxruntime
