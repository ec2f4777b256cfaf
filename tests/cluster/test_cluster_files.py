"""The files in cluster/ are what the programs that read them expect, as far as it shows offline."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import yaml

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"


def test_the_ssh_launcher_file_fits_rays_own_schema() -> None:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = json.loads((Path(ray.origin).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((CLUSTER / "ssh.yaml").read_text()), schema)


def test_the_kubernetes_file_is_a_ray_job_with_a_head_and_workers() -> None:
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert "headGroupSpec" in cluster
    assert cluster["workerGroupSpecs"]
    assert job["spec"]["entrypoint"].startswith("hermes sweep ")


def test_the_slurm_script_is_sound_shell_and_asks_for_a_study() -> None:
    script = str(CLUSTER / "slurm.sbatch")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    bare = subprocess.run(["bash", script], check=False, capture_output=True, text=True)
    assert bare.returncode == 2
    assert "usage" in bare.stderr
