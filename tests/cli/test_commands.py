"""Commands that Hermes prints mean what they say in a shell, whatever the names in them are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hermes.cli import _resume_command
from hermes.results import write_report
from tests.results.study_rows import STUDY, schema, study_rows

EVIL = ["; touch pwned", "$(touch pwned)", "`touch pwned`", "a\ntouch pwned\n", "' ; touch pwned '",
        '" ; touch pwned "', "-rf", "--out=elsewhere", "~", "$HOME", "a b", "*", "{a,b}",
        "&& touch pwned", "| touch pwned", "> pwned", "\\"]  # fmt: skip
SHOW = "hermes() { printf '%s\\0' \"$@\"; }\n"


def typed(command: str, folder: Path) -> list[str]:
    """Run a command in bash, with a `hermes` that shows its arguments; return them."""
    for options in (["-n"], []):  # a check of its syntax first
        done = subprocess.run(
            ["bash", *options, "-c", SHOW + command],
            cwd=folder, env=os.environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert os.listdir(folder) == []
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", EVIL)
def test_the_command_that_resumes_names_study_folder_and_overrides_as_they_are(name, tmp_path):
    command = _resume_command(name, name, [f"a={name}"], name, 7)
    found = typed(command, tmp_path)
    assert found == ["sweep", f"--out={name}", "--resume", f"--set=a={name}", f"--address={name}",
                     "--trials=7", "--", name]  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_the_commands_of_a_report_do_nothing_else(name, tmp_path):
    from hermes.results import StudyFolder

    (tmp_path / "shell").mkdir()
    with StudyFolder(tmp_path / "out") as folder:
        folder.write_study(STUDY | {"name": name})
        folder.write_part(study_rows(), schema())
    text = write_report(tmp_path / "out")["md"].read_text()
    blocks = text.split("```")[1::2]
    commands = [block for block in blocks if "hermes " in block]
    assert commands
    for block in commands:
        found = typed(block.partition("\n")[2], tmp_path / "shell")
        assert found[0] == "sweep"
        assert found.count("sweep") == found.count("report") == 1
