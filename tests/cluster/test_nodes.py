"""Nodes on this machine that are lost, freeze, come and go: no trial is lost or counted twice."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from hermes.results import read_trials
from tests.cluster.heads import stop_all_of
from tests.sweeps.small_study import digest, loaded, run_here, written

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# A process of its own: this one's Ray is the other tests'.
DRIVER = """
    import os, signal, sys, threading, time
    from pathlib import Path
    import ray
    from ray.cluster_utils import Cluster
    from hermes.sweeps import Pace, load_study
    from hermes.sweeps.run import RunOptions, run

    study, out, fault = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    checks = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
              "health_check_timeout_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 0, "_system_config": checks, "object_store_memory": 2**27})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=2**27) for _ in range(2)]
    cluster.wait_for_nodes()

    def family(pid):
        found, parents = [pid], {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                after = entry.read_text().rpartition(")")[2].split()
                parents.setdefault(int(after[1]), []).append(int(entry.parent.name))
            except OSError:
                pass
        for one in found:
            found += parents.get(one, [])
        return found

    def signal_node(node, number):
        for pid in family(node.all_processes["raylet"][0].process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def remove():
        cluster.remove_node(nodes[1], allow_graceful=False)

    def freeze():
        signal_node(nodes[1], signal.SIGSTOP)

    def flap():
        for _ in range(5):
            node = cluster.add_node(num_cpus=1, object_store_memory=2**27)
            time.sleep(3)
            cluster.remove_node(node, allow_graceful=False)

    def gcs():
        cluster.head_node.all_processes["gcs_server"][0].process.kill()

    def strike():
        while len(list((out / "trials").glob("part-*"))) < 2:
            time.sleep(0.02)
        (out.parent / "struck").write_text("yes")
        {"remove": remove, "freeze": freeze, "flap": flap, "gcs": gcs}[fault]()

    thread = threading.Thread(target=strike, daemon=True)
    if fault != "none":
        thread.start()
    outcome = run(load_study(study), out, RunOptions(
        address=cluster.address, quiet=True, pace=Pace(rows=4, seconds=0.5)))
    print(dict(outcome.counts), flush=True)
    if fault == "freeze":
        signal_node(nodes[1], signal.SIGCONT)
        time.sleep(3)
    if fault == "flap":
        thread.join()
    ray.shutdown()
    cluster.shutdown()
"""
ROOT = os.fspath(Path(__file__).resolve().parents[2])
CHANGES = {
    "space": {"clients.chat.max_num_seqs": [1, 2, 4, 8], "seed": list(range(30))},
    "set": {"clients.chat.batching": "tests.sweeps.misbehaving:Slow"},
    "sampler": "grid",
    "trial_timeout_s": 10,
}
TRIALS = 120


def drive(folder: Path, out: Path, fault: str) -> subprocess.CompletedProcess[str]:
    """Run the study on a cluster, and stop whatever of the cluster is left."""
    scratch = tempfile.mkdtemp(prefix="hn-")
    driver = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DRIVER), written(folder, **CHANGES), out, fault],
        env={**os.environ, "PYTHONPATH": ROOT, "RAY_TMPDIR": scratch,
             # As `RaySession.start` sets them, which comes too late where Ray is imported before.
             "RAY_grpc_client_keepalive_time_ms": "5000",
             "RAY_grpc_client_keepalive_timeout_ms": "5000"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, complained = driver.communicate(timeout=400)
    finally:
        stop_all_of(scratch)
    return subprocess.CompletedProcess(driver.args, driver.returncode, said, complained)


@pytest.mark.parametrize("fault", ["none", "remove", "freeze", "flap"])
def test_a_study_on_two_nodes_equals_one_in_this_process(tmp_path, fault):
    out = tmp_path / "out"
    driver = drive(tmp_path, out, fault)
    assert driver.returncode == 0, driver.stderr[-3000:]
    assert f"{{'completed': {TRIALS}}}" in driver.stdout
    assert (tmp_path / "struck").exists() == (fault != "none")
    assert read_trials(out)["trial_key"].is_unique
    run_here(loaded(tmp_path, **CHANGES), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")


def test_when_the_head_of_the_cluster_dies_what_was_finished_stays_and_a_resume_completes(tmp_path):
    out = tmp_path / "out"
    started = time.monotonic()
    driver = drive(tmp_path, out, "gcs")
    assert driver.returncode != 0, "a driver without a cluster must not look as if it had ended"
    assert time.monotonic() - started < 300
    before = read_trials(out).set_index("trial_key")["started_at"].to_dict()
    assert 2 <= len(before) < TRIALS
    assert "the head of the Ray cluster has not answered for 30 s" in driver.stderr
    run_here(loaded(tmp_path, **CHANGES), out, resume=True)
    after = read_trials(out).set_index("trial_key")["started_at"].to_dict()
    assert before.items() <= after.items()
    run_here(loaded(tmp_path, **CHANGES), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")
