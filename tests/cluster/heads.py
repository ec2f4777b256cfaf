"""A Ray head that stands by itself on this machine, for drivers that come and go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["processes_of", "standing_head", "stop_all_of"]

ROOT = os.fspath(Path(__file__).resolve().parents[2])
_HEAD = """
    import json, sys
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 2, "object_store_memory": 2**27})
    for env in json.loads(sys.argv[1]):
        cluster.add_node(num_cpus=1, object_store_memory=2**27, env_vars=env)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
"""


@contextmanager
def standing_head(nodes: str = "[]") -> Iterator[tuple[str, str]]:
    """Start a head with two CPUs, and a node for each environment in *nodes*, which is JSON.

    Yields its address and its scratch folder, which marks its processes; ends all of them.
    """
    scratch = tempfile.mkdtemp(prefix="hn-")
    head = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_HEAD), nodes],
        env={**os.environ, "PYTHONPATH": ROOT, "RAY_TMPDIR": scratch},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield head.stdout.readline().strip(), scratch
    finally:
        stop_all_of(scratch)
        head.communicate()
        shutil.rmtree(scratch, ignore_errors=True)


def processes_of(scratch: str) -> dict[int, str]:
    """Return the command lines of the processes that were started with a scratch folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            ours = f"RAY_TMPDIR={scratch}".encode() in entry.read_bytes().split(b"\0")
            said = (entry.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if ours and said and int(entry.parent.name) != os.getpid():
            found[int(entry.parent.name)] = said
    return found


def stop_all_of(scratch: str) -> None:
    """End the processes that were started with this cluster's folder, and no others."""
    for pid in processes_of(scratch):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
