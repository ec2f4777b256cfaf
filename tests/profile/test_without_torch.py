"""What is said where PyTorch or a GPU is missing, and of wrong input."""

from __future__ import annotations

import json
import sys

import pytest

from hermes.cli import _run
from hermes.errors import InputError
from hermes.profile import Request, profile
from hermes.profile.machine import find_machine


def test_a_machine_without_pytorch_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"needs PyTorch: pip install 'hermes-dse\[profile\]'"):
        find_machine("cpu")


def test_a_machine_without_a_gpu_says_so(capsys, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert _run(["profile", "--out", str(tmp_path / "p")]) == 2
    assert "PyTorch sees no GPU on this machine; `--device cpu`" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(("interrupted", "code"), [(False, 0), (True, 130)])
def test_an_interruption_has_its_exit_code(monkeypatch, tmp_path, capsys, interrupted, code):
    found = {"measured": 3, "interrupted": interrupted}
    monkeypatch.setattr("hermes.profile.profile", lambda request: found)
    assert _run(["profile", "--out", str(tmp_path)]) == code
    shown = capsys.readouterr().out
    assert "--publish hermes/costs/data" in shown
    assert _run(["profile", "--out", str(tmp_path), "--json"]) == code
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"operators": ("gemm",)}, r"--operators: unknown operator 'gemm'.*linear"),
        ({"device": "gpu"}, r"--device: unknown device 'gpu'.*cuda"),
        ({"minutes": 0.0}, r"--minutes: expected a positive number, got 0"),
        ({"device_name": "my gpu!"}, r"--device-name: expected letters.*'my gpu!'"),
        ({"models": ("lama-3.1-8b",)}, r"unknown model 'lama-3.1-8b'; did you mean"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_measured(tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        profile(Request(out=tmp_path, **{"device": "cpu", **changes}))
    assert not list(tmp_path.iterdir())


def test_collectives_need_several_devices(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    with pytest.raises(InputError, match=r"--operators: there is one device"):
        profile(Request(out=tmp_path, device="cpu", operators=("collectives",)))


def test_importing_the_package_loads_no_torch():
    import subprocess

    code = "import hermes.profile, sys; print([m for m in ('torch', 'faiss') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
