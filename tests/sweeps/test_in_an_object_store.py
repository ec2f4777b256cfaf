"""A study whose folder is a prefix in an object store ends with the rows of one in a folder."""

import pytest
from typer.testing import CliRunner

from hermes.cli import app
from hermes.errors import StudyLockedError
from hermes.results.place import open_place
from tests.results.object_stores import AWS
from tests.results.s3_stand_in import s3_server
from tests.sweeps.drivers import start, wait_until
from tests.sweeps.small_study import SPACE_SIZE, digest, loaded, rows_of, run_here, written


@pytest.fixture
def bucket(monkeypatch):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as server:
        yield server


def test_kill_9_then_resume_loses_nothing_and_doubles_nothing(tmp_path, bucket):
    study, out = written(tmp_path), bucket.url("team/small")
    acknowledged: dict[str, str] = {}
    for kill in range(3):
        before = sum("trials/part" in key for key in bucket.objects)
        driver = start(study, out)
        done = lambda low=before + 3: sum("trials/part" in k for k in bucket.objects) >= low  # noqa: E731
        assert wait_until(done, driver)
        if kill == 0:
            with pytest.raises(StudyLockedError, match=f"process {driver.pid} on "):
                run_here(loaded(tmp_path), out, resume=True)
        driver.kill()
        driver.communicate()
        bucket.clock_s += 61
        rows = {row["trial_key"]: repr(row) for row in rows_of(out)}
        assert acknowledged.items() <= rows.items()
        acknowledged = rows
    outcome = run_here(loaded(tmp_path), out, resume=True)
    assert outcome.counts == {"completed": SPACE_SIZE}
    run_here(loaded(tmp_path), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")


def test_the_command_line_takes_urls(tmp_path, bucket):
    study, out = written(tmp_path), bucket.url("team/small")
    command = ["sweep", str(study), "--out", out, "--workers", "0", "--trials", "4"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    assert "report: s3://studies/team/small/report.html" in ran.output
    assert open_place(out).read("report.html").startswith(b"<!doctype html>")
    assert CliRunner().invoke(app, ["pareto", out]).exit_code == 0
    again = CliRunner().invoke(app, command)
    assert again.exception is not None
    assert "holds a study already" in str(again.exception)
    more = CliRunner().invoke(app, [*command[:-1], "6", "--resume"])
    assert more.exit_code == 0, more.output
    assert len(rows_of(out)) == 6


def test_a_prefix_with_other_things_in_it_is_refused(tmp_path, bucket):
    bucket.put("team/photos/cat.jpg", b"...")
    written(tmp_path)
    with pytest.raises(Exception, match="holds other things"):
        run_here(loaded(tmp_path), bucket.url("team/photos"))
