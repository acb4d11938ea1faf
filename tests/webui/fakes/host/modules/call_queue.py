"""One generation at a time."""

from __future__ import annotations

import threading
from typing import Any

queue_lock = threading.Lock()


def wrap_queued_call(func: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        with queue_lock:
            return func(*args, **kwargs)

    return call


def wrap_gradio_call(func: Any, extra_outputs: Any = None, add_stats: bool = False) -> Any:
    return func


def wrap_gradio_gpu_call(func: Any, extra_outputs: Any = None) -> Any:
    return wrap_queued_call(func)
