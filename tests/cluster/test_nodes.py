"""Two nodes on this machine, and one of them lost: no trial is lost or counted twice."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from hermes.results import read_trials
from tests.sweeps.small_study import digest, loaded, run_here, written

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# A process of its own: this one's Ray is the other tests'.
DRIVER = """
    import sys, threading, time
    from pathlib import Path
    import ray
    from ray.cluster_utils import Cluster
    from hermes.sweeps import Pace, load_study
    from hermes.sweeps.run import RunOptions, run

    study, out, remove = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "remove"
    checks = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
              "health_check_timeout_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 0, "_system_config": checks, "object_store_memory": 2**27})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=2**27) for _ in range(2)]
    cluster.wait_for_nodes()

    def lose():
        while len(list((out / "trials").glob("part-*"))) < 2:
            time.sleep(0.02)
        cluster.remove_node(nodes[1], allow_graceful=False)
        (out.parent / "removed").write_text("yes")

    if remove:
        threading.Thread(target=lose, daemon=True).start()
    outcome = run(load_study(study), out, RunOptions(
        address=cluster.address, quiet=True, pace=Pace(rows=4, seconds=0.5)))
    print(dict(outcome.counts))
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.parametrize("fault", ["none", "remove"])
def test_a_study_on_two_nodes_equals_one_in_this_process(tmp_path, fault):
    changes = {
        "space": {"clients.chat.max_num_seqs": [1, 2, 4, 8], "seed": list(range(30))},
        "set": {"clients.chat.batching": "tests.sweeps.misbehaving:Slow"},
        "sampler": "grid",
    }
    study, out = written(tmp_path, **changes), tmp_path / "out"
    root = os.fspath(Path(__file__).resolve().parents[2])
    driver = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER), study, out, fault],
        env={**os.environ, "PYTHONPATH": root, "RAY_TMPDIR": tempfile.mkdtemp(prefix="hn-")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert driver.returncode == 0, driver.stderr[-3000:]
    assert "{'completed': 120}" in driver.stdout
    assert (tmp_path / "removed").exists() == (fault == "remove")
    assert read_trials(out)["trial_key"].is_unique
    run_here(loaded(tmp_path, **changes), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")
