"""Two drivers on one study, each stopped at every step while the other one runs.

In a folder the kernel's lock decides; in an object store a lease does, and a driver that is frozen
for longer than its lease lasts may wake at any request. Whatever the order, the rows are those of
one driver alone.
"""

from __future__ import annotations

import pytest

from hermes.errors import StudyLockedError
from hermes.results import StudyFolder, read_rows
from hermes.results.files import Files
from hermes.results.local_place import LocalPlace
from tests.results.fault_files import CALLS
from tests.results.object_stores import AWS, place
from tests.results.s3_stand_in import s3_server
from tests.results.study_rows import STUDY, schema, study_rows

ROWS = study_rows()[:6]


def drive(where) -> str:
    """Write what is missing of six trials, two a part; return how it ended."""
    try:
        with StudyFolder(where) as folder:
            folder.write_study(STUDY)
            stored = folder.read_rows(schema())
            done = set(stored.table.column("number").to_pylist())
            missing = [row for row in ROWS if row["number"] not in done]
            for start in range(0, len(missing), 2):
                folder.write_part(missing[start : start + 2], schema())
            folder.compact(schema(), most_small=1)
    except StudyLockedError:
        return "told"
    return "done"


class GatedFiles(Files):
    """Lets the other driver run before call number `at`."""

    def __init__(self, at: int, other) -> None:
        self.at = at
        self.other = other
        self.calls = 0


def _gated(name):
    def call(self, *args):
        self.calls += 1
        if self.calls - 1 == self.at:
            self.other()
        return getattr(Files, name)(self, *args)

    return call


for _name in CALLS:
    setattr(GatedFiles, _name, _gated(_name))


def test_in_a_folder_either_may_come_at_any_call_of_the_other(tmp_path):
    alone = GatedFiles(-1, None)
    drive(LocalPlace(tmp_path / "alone", alone))
    whole = read_rows(tmp_path / "alone")
    ends = set()
    for at in range(alone.calls):
        out, second = tmp_path / str(at), []
        first = drive(
            LocalPlace(out, GatedFiles(at, lambda o=out, s=second: s.append(drive(LocalPlace(o)))))
        )
        ends.add((first, *second))
        assert read_rows(out) == whole
        assert not list(out.rglob("*.tmp"))
    assert ends == {("done", "done"), ("done", "told")}


def test_a_driver_that_comes_while_two_others_change_over_is_told(tmp_path):
    """Calls at which a second driver was let in: before the lock is taken, and after it is left."""
    let_in = []
    alone = GatedFiles(-1, None)
    drive(LocalPlace(tmp_path / "alone", alone))
    for at in range(alone.calls):
        out, second = tmp_path / str(at), []
        drive(LocalPlace(out, GatedFiles(at, lambda o=out, s=second: s.append(drive(o)))))
        let_in.append(second == ["done"])
    closed = let_in.index(False)
    assert all(let_in[:closed])
    assert not any(let_in[closed:])


@pytest.mark.parametrize(
    ("frozen_s", "step"),
    [(0, 3), (61, 3), pytest.param(0, 1, marks=pytest.mark.slow),
     pytest.param(61, 1, marks=pytest.mark.slow)],
    ids=["short", "long", "short-every", "long-every"],
)  # fmt: skip
def test_in_an_object_store_either_may_come_at_any_request_of_the_other(
    monkeypatch, frozen_s, step
):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as bucket:
        drive(place(bucket, "alone"))
        requests = len(bucket.requests)
        whole = read_rows(bucket.url("alone"))
        ends = set()
        for at in range(0, requests, step):
            folder = f"round{at}"
            ends.add(interleaved(bucket, folder, at, frozen_s))
            finish(bucket, folder)
            assert read_rows(bucket.url(folder)) == whole, at
        assert {end for pair in ends for end in pair} == {"done", "told"}


def interleaved(bucket, folder: str, at: int, frozen_s: float) -> tuple[str, ...]:
    """Run one driver, and another one before its request number *at*."""
    second: list[str] = []
    mine, other = place(bucket, folder), place(bucket, folder)  # no client is made amid a request
    start = len(bucket.requests)

    def gate(method: str, key: str) -> None:
        if len(bucket.requests) - start == at + 1 and not second:
            second.append("under way")
            bucket.clock_s += frozen_s
            second[0] = drive(other)

    bucket.fault = gate
    if frozen_s:
        freeze(mine)
    first = drive(mine)
    bucket.fault = lambda method, key: None
    return (first, *second)


def freeze(where) -> None:
    """Make a driver look at its lease before each write, as one that has just woken does."""
    lease = where._lease
    require = lease.require

    def woken() -> None:
        lease._seen_at -= 61
        require()

    lease.require = woken


def finish(bucket, folder: str) -> None:
    """Finish the study where neither has."""
    if drive(place(bucket, folder)) == "told":
        bucket.clock_s += 61
        assert drive(place(bucket, folder)) == "done"


def test_the_gate_itself_is_passed_by_every_call():
    assert set(CALLS) == {name for name in vars(Files) if not name.startswith("_")}
