"""A study in an object store: pyarrow's own S3 client, against a server that can misbehave."""

import importlib.util
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hermes.errors import HermesError, InputError, StudyLockedError
from hermes.results import StudyFolder, read_rows, read_trials, write_report
from hermes.results.lease import Lease, LeaseTimes
from hermes.results.object_place import ObjectPlace
from hermes.results.place import open_place
from tests.results.object_stores import AWS, moto_server, place
from tests.results.s3_stand_in import BUCKET, s3_server
from tests.results.study_rows import STUDY, schema, study_rows

ROWS = study_rows()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket():
    with s3_server() as server:
        yield server


@pytest.fixture(params=["ours", "moto"])
def url(request):
    if request.param == "ours":
        with s3_server() as server:
            yield server.url("team/study")
        return
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("moto[server] is not installed")
    from pyarrow.fs import S3FileSystem

    with moto_server() as query:
        options = dict(pair.split("=") for pair in query.split("&"))
        S3FileSystem(**options, allow_bucket_creation=True).create_dir(BUCKET)
        yield f"s3://{BUCKET}/team/study?{query}"


def fill(where, *batches):
    with StudyFolder(where) as folder:
        folder.write_study(STUDY)
        for batch in batches:
            folder.write_part(batch, schema())


def stored(where):
    with StudyFolder(where) as folder:
        return folder.read_rows(schema())


# --- As in a folder -------------------------------------------------------------------------------


def test_rows_and_reports_come_back_as_they_were_written(url, tmp_path):
    fill(url, ROWS[80:], ROWS[:80])
    fill(tmp_path, ROWS)
    assert read_rows(url) == read_rows(tmp_path)
    assert stored(url).to_dicts() == read_rows(tmp_path)
    paths = write_report(url)
    place = open_place(url)
    assert paths["md"] == f"s3://{BUCKET}/team/study/report.md"
    assert place.read("report.md").decode().startswith("# ")
    assert place.read("pareto.png").startswith(b"\x89PNG")


def test_parts_are_merged_and_damaged_ones_set_aside(url):
    fill(url, *[[row] for row in ROWS[:6]])
    with StudyFolder(url) as folder:
        folder.read_rows(schema())
        folder.compact(schema(), most_small=3)
        assert len(folder.place.names("trials")) == 1
        folder.write_part(ROWS[6:8], schema())
        last = folder.place.names("trials")[-1]
        folder.place.replace(f"trials/{last}", folder.place.read(f"trials/{last}")[:-1])
    with pytest.raises(HermesError, match="sets it aside"):
        read_trials(url)
    found = stored(url)
    assert [aside.file for aside in found.set_aside] == [f"quarantine/{last}"]
    assert found.table.num_rows == 6
    assert len(read_trials(url)) == 6


def test_a_part_that_is_still_empty_is_not_there_yet(bucket):
    fill(place(bucket), ROWS[:2])
    bucket.put("team/study/trials/part-000007-0123456789abcdef.parquet", b"")
    assert len(read_trials(bucket.url("team/study"))) == 2


def test_another_study_and_other_things_are_refused(bucket):
    fill(place(bucket), ROWS[:1])
    with (
        pytest.raises(InputError, match="holds another study"),
        StudyFolder(place(bucket)) as folder,
    ):
        folder.write_study({**STUDY, "study_key": "another"})
    with pytest.raises(InputError, match="does not exist"):
        read_trials(bucket.url("team/nothing"))


# --- One driver -----------------------------------------------------------------------------------


def test_a_second_driver_is_told_who_holds_the_study(url):
    with StudyFolder(url), pytest.raises(StudyLockedError, match="written by process"):
        StudyFolder(url).open()
    fill(url, ROWS[:1])


def test_of_drivers_that_come_at_once_at_most_one_writes(bucket):
    for round_ in range(5):
        folders = [StudyFolder(place(bucket, f"round{round_}")) for _ in range(4)]
        inside, refused = [], []
        start = threading.Barrier(len(folders))

        def drive(folder, start=start, inside=inside, refused=refused):
            start.wait()
            try:
                folder.open()
                inside.append(folder)
            except StudyLockedError as error:
                refused.append(error)

        threads = [threading.Thread(target=drive, args=(folder,)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(inside) <= 1
        assert len(inside) + len(refused) == len(folders)
        for folder in inside:
            folder.close()


def abandon(folder):
    """Leave a driver's claim as a kill leaves it: there, and never renewed."""
    lease: Lease = folder.place._lease
    lease._stop.set()
    lease._keeper.join()


def test_the_claim_of_a_killed_driver_ends_after_a_minute_by_the_store_s_clock(bucket):
    killed = StudyFolder(place(bucket))
    killed.open()
    abandon(killed)
    bucket.clock_s += 55
    with pytest.raises(StudyLockedError, match="ends by itself within 60 s"):
        StudyFolder(place(bucket)).open()
    bucket.clock_s += 10
    fill(place(bucket), ROWS[:1])
    assert [key for key in bucket.objects if ".drivers/" in key and key[-1] != "/"] == []


def test_a_frozen_driver_that_wakes_writes_nothing_more(bucket):
    frozen = StudyFolder(place(bucket))
    frozen.open()
    frozen.write_study(STUDY)
    frozen.write_part(ROWS[:2], schema())
    abandon(frozen)
    frozen.place._lease._seen_at -= 61
    bucket.clock_s += 61
    with StudyFolder(place(bucket)) as second:
        with pytest.raises(StudyLockedError, match="was taken over by process"):
            frozen.write_part(ROWS[2:4], schema())
        second.write_part(ROWS[4:6], schema())
    assert list(read_trials(bucket.url("team/study"))["number"]) == [0, 1, 4, 5]
    with pytest.raises(StudyLockedError, match="was taken over"):
        frozen.write_part(ROWS[2:4], schema())


def test_a_renewal_that_crosses_a_takeover_loses_by_its_number(bucket):
    frozen = StudyFolder(place(bucket))
    frozen.open()
    abandon(frozen)
    lease = frozen.place._lease
    bucket.clock_s += 61
    with StudyFolder(place(bucket)) as second:
        lease._write(lease._name)  # it had looked before the takeover, and writes after it
        lease._seen_at -= 61
        with pytest.raises(StudyLockedError, match="taken over"):
            frozen.write_part(ROWS[:1], schema())
        second.place._lease._seen_at -= 61
        second.write_study(STUDY)
        second.write_part(ROWS[:1], schema())
    assert len(read_trials(bucket.url("team/study"))) == 1


def test_a_living_driver_keeps_its_claim_young(bucket):
    from pyarrow.fs import FileSystem

    filesystem, root = FileSystem.from_uri(bucket.url("team/study"))
    lease = Lease(filesystem, f"{root}/.drivers", "the study", LeaseTimes(0.05, 60))
    lease.take()
    claim = next(key for key in bucket.objects if ".drivers/" in key)
    bucket.clock_s += 1000
    first = bucket.objects[claim][1]
    waiting = threading.Event()
    for _ in range(200):
        if bucket.objects[claim][1] > first:
            break
        waiting.wait(0.05)
    assert bucket.objects[claim][1] > first
    lease.give_back()
    assert claim not in bucket.objects


# --- Faults ---------------------------------------------------------------------------------------


def drive(where, batches, acknowledged):
    """Write what is missing of the batches, noting which rows the store has confirmed."""
    with StudyFolder(where) as folder:
        folder.write_study(STUDY)
        there = set(folder.read_rows(schema()).table.column("number").to_pylist())
        for batch in batches:
            missing = [row for row in batch if row["number"] not in there]
            if missing:
                folder.write_part(missing, schema())
                acknowledged.update(row["number"] for row in missing)
            folder.compact(schema(), most_small=2)


BATCHES = [ROWS[:2], ROWS[2:4], ROWS[4:6], ROWS[6:8]]


def whole(bucket):
    rows = read_rows(bucket.url("team/study"))
    assert rows == read_rows(bucket.url("team/undisturbed"))


@pytest.mark.parametrize("kind", ["fail", "lost"])
@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_a_driver_cut_off_at_any_request_loses_nothing_and_doubles_nothing(kind, every):
    with s3_server() as bucket:
        drive(place(bucket, "team/undisturbed"), BATCHES, set())
        total = len(bucket.requests)
        for at in range(0, total, every):
            bucket.objects = {k: v for k, v in bucket.objects.items() if "undisturbed" in k}
            bucket.requests.clear()

            def fault(method, key, at=at):
                count = len(bucket.requests) - 1
                return None if count < at else (kind if count == at else "fail")

            bucket.fault = fault
            acknowledged: set[int] = set()
            with suppress(HermesError):  # the last cut comes when all is written
                drive(place(bucket), BATCHES, acknowledged)
            bucket.fault = lambda method, key: None
            bucket.clock_s += 61
            kept = {row["number"] for row in stored(place(bucket)).to_dicts()}
            assert acknowledged <= kept
            bucket.clock_s += 61
            drive(place(bucket), BATCHES, set())
            whole(bucket)


@pytest.mark.parametrize("kind", ["fail", "lost"])
def test_a_store_that_fails_now_and_then_is_asked_again(bucket, kind):
    drive(place(bucket, "team/undisturbed"), BATCHES, set())
    bucket.requests.clear()
    # Claims are not retried: who is not sure to have the study does not drive it.
    bucket.fault = lambda method, key: (
        kind if "/trials/part" in key and len(bucket.requests) % 4 == 1 else None
    )
    drive(place(bucket, tries=20), BATCHES, set())
    bucket.fault = lambda method, key: None
    whole(bucket)


def test_no_permission_is_said_at_once(bucket):
    bucket.fault = lambda method, key: "denied" if method in {"PUT", "POST"} else None
    with pytest.raises(HermesError, match=r"cannot claim s3://studies/team/study: .*ACCESS_DENIED"):
        StudyFolder(bucket.url("team/study")).open()


def test_a_store_that_is_not_there_is_one_error(bucket):
    bucket.fault = lambda method, key: "fail"
    with pytest.raises(HermesError, match="cannot claim s3://studies/team/study"):
        StudyFolder(place(bucket)).open()


# --- URLs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://key:hunter2@bucket/study", "must not hold credentials"),
        ("s3://key@bucket/study", "must not hold credentials"),
        ("s3://bucket/study?secret_key=hunter2", "must not hold credentials"),
        ("s3://bucket", "needs a bucket and a folder in it"),
        ("s4://bucket/study", "not one of 's4' (allowed: abfs, abfss, gcs, gs, s3)"),
        ("https://bucket/study", "not one of 'https'"),
    ],
)
def test_urls_that_cannot_be_a_study_s_place(url, said):
    with pytest.raises(InputError, match="--out") as caught:
        open_place(url)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_other_stores_are_reached_by_their_urls():
    place = open_place("gs://anonymous@bucket/study")
    assert isinstance(place, ObjectPlace)
    assert place.at("study.json") == "gs://anonymous@bucket/study/study.json"


@contextmanager
def refusing_server():
    """A store that knows nobody: 403 to everything."""

    class Refusing(BaseHTTPRequestHandler):
        def refuse(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"error": {"code": 403, "message": "who are you", "errors": []}}'
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        def log_message(self, *_):
            pass

    for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
        setattr(Refusing, f"do_{method}", Refusing.refuse)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("gs://anonymous@bucket/study", "endpoint_override=127.0.0.1:{}&scheme=http",
         "PERMISSION_DENIED"),
        ("abfs://files@account.dfs.core.windows.net/study",
         "blob_storage_authority=127.0.0.1:{0}&dfs_storage_authority=127.0.0.1:{0}"
         "&enable_tls=false", "AuthenticationException"),
    ],
    ids=["google", "azure"],
)  # fmt: skip
def test_google_and_azure_without_permission_are_one_message_at_once(url, options, said):
    with refusing_server() as port:
        folder = StudyFolder(f"{url}?{options.format(port)}")
        with pytest.raises(HermesError, match=f"cannot claim {url}: .*{said}"):
            folder.open()


def test_an_azure_url_names_container_and_account():
    place = open_place("abfs://files@account.dfs.core.windows.net/team/study")
    assert isinstance(place, ObjectPlace)
    assert (
        place.at("study.json") == "abfs://files@account.dfs.core.windows.net/team/study/study.json"
    )
    with pytest.raises(HermesError, match=r"cannot reach abfs://files/study: .*account name"):
        open_place("abfs://files/study")
