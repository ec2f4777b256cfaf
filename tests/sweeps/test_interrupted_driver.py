"""Ctrl-C, SIGTERM and SIGHUP keep every finished trial; a second signal does not wait."""

from __future__ import annotations

import signal
import time

import pytest

from hermes.errors import StudyLockedError
from hermes.results import read_trials
from tests.sweeps.drivers import parts, start, wait_until
from tests.sweeps.small_study import SPACE_SIZE, digest, loaded, run_here, written

SLOW = {"set": {"clients.chat.batching": "tests.sweeps.misbehaving:Slow"}}


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_to_stop_keeps_what_is_finished(tmp_path, number):
    out = tmp_path / "out"
    driver = start(written(tmp_path, **SLOW), out, rows_a_part=3)
    assert wait_until(lambda: parts(out) >= 1, driver)
    time.sleep(0.08)  # one or two more trials finish, whose rows no part holds yet
    driver.send_signal(number)
    _, said = driver.communicate(timeout=20)
    assert driver.returncode == 128 + number
    assert said == b""
    assert 3 <= len(read_trials(out)) < SPACE_SIZE
    run_here(loaded(tmp_path, **SLOW), out, resume=True)
    run_here(loaded(tmp_path, **SLOW), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    """Even where a trial hears nothing of the first."""
    space = {"clients.chat.batching": ["chunked", "tests.sweeps.misbehaving:Deaf"]}
    out = tmp_path / "out"
    driver = start(written(tmp_path, space=space, sampler="grid"), out)
    assert wait_until(lambda: parts(out) >= 1, driver)
    time.sleep(0.5)  # the second trial has begun
    driver.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=20)
    assert driver.returncode == 130
    assert len(read_trials(out)) == 1


def test_a_frozen_driver_is_not_robbed_of_its_study(tmp_path):
    out = tmp_path / "out"
    driver = start(written(tmp_path, **SLOW), out)
    assert wait_until(lambda: parts(out) >= 1, driver)
    driver.send_signal(signal.SIGSTOP)
    with pytest.raises(StudyLockedError, match=f"process {driver.pid} on "):
        run_here(loaded(tmp_path, **SLOW), out, resume=True)
    driver.send_signal(signal.SIGCONT)
    driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert len(read_trials(out)) == SPACE_SIZE
