"""Joining Ray: what is wrong is said in one message."""

from __future__ import annotations

import os

import pytest

from hermes.cluster import RaySession, Trial, TrialPool, TrialSetup
from hermes.cluster.session import _marked, remove_abandoned
from hermes.errors import HermesError, InputError
from tests.sweeps.small_study import STUDY


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:99999"])
def test_nothing_at_the_address_is_one_message(monkeypatch, address):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(HermesError) as caught:
        RaySession.start(address=address)
    assert f"cannot join the Ray cluster at {address!r}: " in str(caught.value)


def test_a_cluster_without_cpus_is_refused_before_anything_waits_for_one(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"memory": 1e9, "GPU": 8.0})
    with pytest.raises(InputError, match="the Ray cluster has no CPU"):
        RaySession.start()


def test_the_folders_of_killed_drivers_are_removed_and_no_others(tmp_path):
    made = {}
    for name in ("hermes-ray-dead", "hermes-ray-alive", "hermes-ray-new", "thesis"):
        (tmp_path / name / "session").mkdir(parents=True)
        if name != "hermes-ray-new":
            made[name] = _marked(tmp_path / name)
    os.close(made["hermes-ray-dead"])
    os.close(made["thesis"])
    remove_abandoned(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"hermes-ray-alive", "hermes-ray-new", "thesis"}
    os.close(made["hermes-ray-alive"])


@pytest.mark.ray
def test_workers_run_the_same_hermes_as_the_driver(ray_session, monkeypatch):
    assert RaySession.start(address="auto").cpus == ray_session.cpus
    monkeypatch.setattr("hermes.cluster.versions.__version__", "9.9.9")
    with pytest.raises(InputError, match=r"workers run Hermes .*, this driver Hermes 9\.9\.9"):
        RaySession.start(address="auto")


@pytest.mark.ray
def test_a_worker_that_joined_later_with_another_hermes_ends_the_study(ray_session, monkeypatch):
    monkeypatch.setattr("hermes.cluster.pool.versions", lambda: "Hermes 9.9.9 on Python 3.11")
    pool = TrialPool(ray_session, TrialSetup(STUDY["scenario"]))
    pool.submit([Trial(0, "key", {}, 0)])
    with pytest.raises(HermesError, match=r"runs Hermes .*, this driver Hermes 9\.9\.9"):
        pool.wait(60.0)
    pool.close()


@pytest.mark.ray
def test_an_embedded_ray_keeps_to_a_folder_of_its_own(ray_session):
    assert os.path.isdir(ray_session.folder)
    assert len(ray_session.folder) < 44, "sockets in it have paths of 107 characters at most"
