"""The scheduler's side of a KV connector whose transfers take the time a case says.

The rules are those of vLLM's NIXL connector: a decode engine loads a whole prompt's KV once, before
the request runs, and computes it itself if it is preempted later; a prefill engine keeps a finished
request's blocks until they are sent.
"""

from __future__ import annotations

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
)


class TimedConnector(KVConnectorBase_V1):
    """Notes which transfers begin; the recorder's clock says when they end."""

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self.begun: list[str] = []  # since the recorder last emptied it
        self._loaded: set[str] = set()

    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int, bool]:
        if self._kv_transfer_config.is_kv_producer or request.request_id in self._loaded:
            return 0, False
        remote = request.num_prompt_tokens - num_computed_tokens
        return remote, remote > 0

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        if num_external_tokens > 0:
            self._loaded.add(request.request_id)
            self.begun.append(request.request_id)

    def request_finished(self, request: Any, block_ids: Any) -> tuple[bool, None]:
        if self._kv_transfer_config.is_kv_producer:
            self.begun.append(request.request_id)
        return self._kv_transfer_config.is_kv_producer, None

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        return KVConnectorMetadata()

    # -- the worker's side, which no scheduler calls --------------------------------------------

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def wait_for_layer_load(self, layer_name: str) -> None:
        raise NotImplementedError

    def save_kv_layer(
        self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any
    ) -> None:
        raise NotImplementedError

    def wait_for_save(self) -> None:
        raise NotImplementedError
