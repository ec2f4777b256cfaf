"""What a spec, a results folder or a name must never be able to do."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import hermes
from hermes.errors import InputError
from hermes.results import StudyFolder
from hermes.scenario.scenario import Name
from hermes.scenario.yaml import read_yaml
from hermes.sweeps import load_study
from tests.results.study_rows import STUDY, schema, study_rows
from tests.sweeps.small_study import loaded, run_here, written

PACKAGE = Path(hermes.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load",
                   "yaml.unsafe_load", "yaml.full_load", "subprocess.getoutput"}  # fmt: skip
COMMANDS = ("!!python/object/apply:os.system ['touch {}']", "!!python/name:os.system",
            "!!python/object/new:subprocess.Popen [['touch', '{}']]")  # fmt: skip


def called(node):
    name = node.func
    parts = []
    while isinstance(name, ast.Attribute):
        parts.append(name.attr)
        name = name.value
    return ".".join(reversed([*parts, name.id])) if isinstance(name, ast.Name) else ""


def findings(source):
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (name for name in names if name.split(".")[0] in FORBIDDEN_IMPORTS)
        elif isinstance(node, ast.Call):
            if called(node) in FORBIDDEN_CALLS:
                yield called(node)
            for word in node.keywords:
                value = getattr(word.value, "value", None)
                if word.arg in {"shell", "allow_pickle"} and value is not False:
                    yield f"{called(node)}({word.arg}=...)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle_no_eval_no_shell_in_the_package(path):
    # yaml.load with our own safe loader is how read_yaml works.
    allowed = {"yaml.load"} if path == PACKAGE / "scenario" / "yaml.py" else set()
    assert set(findings(path.read_text("utf-8"))) <= allowed


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "eval('1')", "import os\nos.system('x')",
     "f(x, shell=True)", "np.load(p, allow_pickle=True)", "yaml.unsafe_load(s)"],
)  # fmt: skip
def test_the_check_itself_finds_what_it_is_for(code):
    assert list(findings(code))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("field", ["name", "scenario", "constraints"])
def test_tags_in_a_study_are_refused_and_nothing_runs(tmp_path, command, field):
    marker, path = tmp_path / "pwned", tmp_path / "study.yaml"
    path.write_text(f"{field}: {command.format(marker)}\n")
    with pytest.raises(InputError):
        load_study(path)
    with pytest.raises(InputError):
        read_yaml(path)
    assert not marker.exists()


NAMES = ["../x", "/etc/x", "a/b", "..", ".", "a\0b", "x" * 300, "-rf", "~", "$HOME", "a b;c",
         "`id`", "a\nb", "con/../..", "\u202etxt"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_cannot_leave_the_output_folder(tmp_path, name):
    with pytest.raises(InputError, match="name"):
        load_study(written(tmp_path, name=name))


@given(st.text(max_size=80))
def test_every_name_that_is_taken_is_one_plain_file_name(name):
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        return
    base = Path("/runs")
    assert os.path.normpath(base / name) == str(base / name)
    assert (base / name).parent == base


HOSTILE = """
import os, sys
started = []
def hook(event, args):
    if event in ("os.exec", "os.system", "os.posix_spawn", "subprocess.Popen", "os.fork"):
        if not str(args).count("fc-list"):
            started.append(event + repr(args))
    if event == "open" and str(args[0]).endswith((".pkl", ".pth", "evil.py", "sitecustomize.py")):
        started.append("opened " + str(args[0]))
folder = sys.argv[1]
os.chdir(folder)
import hermes.results, pandas, pyarrow.parquet, plotly, matplotlib.pyplot
sys.addaudithook(hook)
from hermes.results import read_trials, write_report, pareto_front, open_study, front_text
open_study(folder); read_trials(folder); write_report(folder); front_text(folder)
assert not started, started
assert not os.path.exists(os.path.join(folder, "pwned"))
"""


def test_a_hostile_results_folder_runs_nothing(tmp_path):
    with StudyFolder(tmp_path) as folder:
        folder.write_study(STUDY)
        folder.write_part(study_rows(), schema())
    evil = f"open({str(tmp_path / 'pwned')!r}, 'w')"
    for where in (tmp_path, tmp_path / "trials"):
        (where / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
        (where / "sitecustomize.py").write_text(evil)
        (where / "hermes.pth").write_text(f"import os; {evil}")
        (where / "__pycache__").mkdir()
        (where / "link").symlink_to("/etc/passwd")
    root = os.fspath(PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_link_in_the_place_of_study_json_is_not_followed(tmp_path):
    study, out = loaded(tmp_path), tmp_path / "out"
    run_here(study, out, trials=2)
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"name": "secret", "objectives": {}}))
    (out / "study.json").unlink()
    (out / "study.json").symlink_to(secret)
    with pytest.raises(Exception, match="cannot read"):
        run_here(study, out, resume=True)


def test_secrets_of_the_environment_are_in_no_row_and_no_report(tmp_path, monkeypatch):
    from hermes.results import write_report

    canary = "canary-3f9c"
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, canary)
    run_here(loaded(tmp_path), tmp_path / "out", trials=3)
    write_report(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes()
