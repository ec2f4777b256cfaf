"""What a study opens to the network: nothing of its own, and a Ray that asks for a token."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import hermes
from hermes.cluster.token import require_token
from tests.cluster.heads import ROOT

PACKAGE = Path(hermes.__file__).parent
LISTENERS = """
import os, sys
from pathlib import Path

def listening():
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets.add("socket:[" + fields[9] + "]")
    return [fd for fd in os.listdir("/proc/self/fd")
            if os.path.exists("/proc/self/fd/" + fd)
            and os.readlink("/proc/self/fd/" + fd) in sockets]

import hermes.sweeps.run as run_module
from hermes.sweeps import load_study, run_study
seen, write = [], run_module.StudyFolder.write_part
def watched(*args):
    seen.append(listening())
    return write(*args)
run_module.StudyFolder.write_part = watched
run_study(load_study(sys.argv[1]), sys.argv[2], workers=0, quiet=True)
assert seen and not any(seen), seen
import socket
server = socket.create_server(("127.0.0.1", 0))
assert listening(), "the check itself sees nothing"
"""
ASK = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=20)))
"""


def test_a_study_without_ray_listens_nowhere(tmp_path):
    from tests.sweeps.small_study import written

    subprocess.run(
        [sys.executable, "-c", LISTENERS, str(written(tmp_path)), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": ROOT}, check=True,
    )  # fmt: skip


def test_nothing_in_the_package_listens():
    """Of sockets it asks for this machine's name and whether somebody answers, no more."""
    used, imported = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "socket":
                used.add(node.attr)
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    assert used == {"gethostname", "create_connection"}
    assert not imported & {"asyncio", "http.server", "socketserver", "xmlrpc.server"}


@pytest.mark.ray
def test_a_ray_of_ours_answers_only_those_with_its_token(ray_session):
    import ray

    address = ray.get_runtime_context().gcs_address
    for env, welcome in (
        ({"RAY_AUTH_MODE": "token"}, True),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, False),
        ({"RAY_AUTH_MODE": "disabled"}, False),
    ):
        done = subprocess.run(
            [sys.executable, "-c", ASK, address],
            env=os.environ | env, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0) == welcome, done.stderr
        assert welcome or "token is missing or incorrect" in done.stderr


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return tmp_path


def test_the_token_is_for_its_owner_s_eyes(home):
    token = home / ".ray" / "auth_token"
    require_token()
    made = token.read_text()
    assert len(made) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    token.chmod(0o644)  # as Ray makes it
    require_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == made


def test_a_token_that_is_given_is_used_and_none_is_written(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    require_token()
    assert not (home / ".ray").exists()


def test_a_home_that_cannot_be_written_gets_a_token_of_this_process(home, monkeypatch):
    (home / ".ray").write_text("not a folder")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    require_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_to_go_without_a_token_is_possible_and_said(home, monkeypatch, caplog):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    require_token()
    assert "RAY_AUTH_MODE=disabled: whoever reaches this machine" in caplog.text
    assert not (home / ".ray").exists()
