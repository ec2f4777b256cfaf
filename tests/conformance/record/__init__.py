"""Records what vLLM's own scheduler does; runs in an environment of its own (see README.md)."""

import os

os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")  # read when vLLM is imported
