"""Small deployments with KV tiers."""

from __future__ import annotations

from dataclasses import replace

from hermes.scenario.tiers import TierSpec
from hermes.scenario.topology import TopologySpec
from hermes.sim.deployment import ClientPlan, Deployment
from hermes.sim.tiers.plan import KvUse, resolve_tiers
from tests.sim.deployments import deployment, topology_of

TOKEN_BYTES = 1000


def kv_use(client: ClientPlan, tiers: tuple[str, ...], **changes: object) -> KvUse:
    use = KvUse(
        tiers=tiers,
        fetch="always",
        load="whole",
        write_back="finish",
        block_size=client.limits.block_size,
        token_bytes=TOKEN_BYTES,
        layers=4,
        content="test",
    )
    return replace(use, **changes)


def tiered(
    tiers: dict[str, dict[str, object]],
    use: dict[str, object] | None = None,
    topology: dict[str, object] | None = None,
    **of_deployment: object,
) -> Deployment:
    """One client, `chat`, that uses all of some tiers, in their order."""
    plain = deployment(**of_deployment)
    client = plain.clients[0]
    client = replace(client, kv=kv_use(client, tuple(tiers), **(use or {})))
    specs = {name: TierSpec.model_validate(spec) for name, spec in tiers.items()}
    resolved = topology_of([client], TopologySpec.model_validate(topology or {}))
    assert client.kv is not None
    plans = resolve_tiers(specs, resolved, {"chat": client.kv})
    return replace(plain, clients=(client,), topology=resolved, tiers=plans)
