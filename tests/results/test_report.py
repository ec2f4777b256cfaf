"""Reports: the answer in words, in every form, for every shape a study can take."""

import base64
import hashlib
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from hermes.errors import InputError
from hermes.results import (
    StudyFolder,
    front_table,
    front_text,
    gather_report,
    trial_schema,
    write_report,
)
from hermes.results.report.answer import answer_sentences, count_sentence, headline
from hermes.results.report.html import html_page
from hermes.results.report.markdown import markdown_page
from hermes.results.report.png import pareto_png
from tests.results.study_rows import METRICS, STUDY, schema, study_rows

ROWS = study_rows()


def folder_of(path, rows=None, study=STUDY, row_schema=None):
    with StudyFolder(path) as folder:
        folder.write_study(study)
        folder.write_part(ROWS if rows is None else rows, row_schema or schema())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def report(folder):
    return gather_report(folder)


@pytest.fixture(scope="module")
def page(report):
    return html_page(report)


# --- What a report says ------------------------------------------------------------------------


def test_the_title_answers_within_the_limits_in_words(report):
    assert headline(report).replace("\N{NO-BREAK SPACE}", " ") == (
        "Cheapest within the limits: h100-sxm, TP 2, 2048 tokens/step, 1 replica"
    )
    assert answer_sentences(report)[0] == (
        "Cost per 1M output tokens $1.15, Goodput 9.27 req/s, TTFT p99 442 ms."
    )


def test_every_trial_is_accounted_for(report):
    assert count_sentence(report) == (
        "160 trials: 120 completed, 60 of them within every constraint, 38 could not exist, "
        "1 failed, 1 ran out of time."
    )
    assert sum(reason.count for reason in report.reasons) == 40


def test_what_matters_is_told_for_each_objective(report):
    assert list(report.importance) == list(STUDY["objectives"])
    for shares in report.importance.values():
        assert set(shares) == set(STUDY["space"])
        assert math.isclose(sum(shares.values()), 1.0)


def test_too_few_trials_tell_nothing_about_importance(tmp_path):
    completed = [row for row in ROWS if row["status"] == "completed"]
    assert gather_report(folder_of(tmp_path / "few", completed[:19])).importance == {}
    assert gather_report(folder_of(tmp_path / "more", completed[:20])).importance != {}


def test_a_parameter_that_never_varies_is_told_apart(tmp_path):
    rows = [row for row in ROWS if row["param.clients.chat-pool.replicas"] == 2]
    report = gather_report(folder_of(tmp_path, rows))
    assert "clients.chat-pool.replicas" not in report.parameters
    assert report.fixed == {"clients.chat-pool.replicas": 2}
    assert "clients.chat-pool.replicas" in html_page(report)


# --- The table for a terminal or a program ------------------------------------------------------


def test_the_front_is_a_table_of_plain_values(folder, report):
    headers, rows = front_table(folder)
    assert headers[:3] == ["number", "trial_key", "knee"]
    assert "clients.chat-pool.tensor_parallel_size" in headers
    assert [row[0] for row in rows] == report.front["number"].tolist()
    assert [row[2] for row in rows].count(True) == 1
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_the_terminal_gets_the_answer_and_aligned_columns(folder):
    lines = front_text(folder).splitlines()
    assert lines[0].startswith("Cheapest within the limits: h100-sxm, TP 2")
    assert any(line.startswith("35 (knee)") for line in lines)
    ends = {len(line) for line in lines[-5:]}
    assert len(ends) == 1


# --- The files ----------------------------------------------------------------------------------


def test_all_files_are_written_and_can_be_written_again(folder):
    for _ in range(2):
        paths = write_report(folder)
        assert {kind: path.name for kind, path in paths.items()} == {
            "html": "report.html",
            "md": "report.md",
            "png": "pareto.png",
        }
    assert not list(folder.glob(".*.tmp"))


def test_equal_studies_give_equal_reports(folder, report, page):
    again = gather_report(folder)
    assert html_page(again) == page
    assert markdown_page(again) == markdown_page(report)


def test_the_picture_has_its_promised_size(report):
    png = pareto_png(report)
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1600
    assert int.from_bytes(png[20:24], "big") == 1000


def test_the_markdown_holds_question_answer_table_and_how_to_regenerate(report):
    text = markdown_page(report)
    title = "**Cheapest within the limits: "
    row, limit = "| 35 (knee) |", "`ttft_ms.p99 <= 500`"
    picture, command = "![Pareto front](pareto.png)", "hermes sweep cheapest-chat"
    for part in (STUDY["question"], title, row, limit, picture, command):
        assert part in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


class Reader(HTMLParser):
    """Collects what an HTML page is made of."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.words = [], [], [], []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "script":
            self.scripts.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data
        else:
            self.words.append(data)

    def values(self, wanted):
        return [value for _, name, value in self.attributes if name == wanted]


def test_the_page_asks_nobody_for_anything(page):
    reader = Reader(page)
    assert "link" not in reader.tags
    assert "img" not in reader.tags
    assert reader.values("src") == reader.values("href") == []
    assert not re.search(r"@import|url\(", page[: page.index("<body>")])


def test_the_policy_names_exactly_the_scripts_of_the_page(page):
    reader = Reader(page)
    (policy,) = [value for value in reader.values("content") if "script-src" in value]
    data, *scripts = reader.scripts
    json.loads(data)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_the_page_shows_the_front_and_the_reasons(page):
    text = " ".join(Reader(page).words)
    assert "The Pareto front: 5 configurations nothing beats" in text
    assert "llama-3.1-70b does not fit on 1 x l40s: needs 141.0 GB a device" in text
    assert "breaks a constraint" in page


def test_the_data_block_holds_every_completed_trial(page):
    data = json.loads(Reader(page).scripts[0])
    assert len(data["number"]) == 120
    assert sum(data["ok"]) == 60
    assert data["number"][data["knee"]] == 35
    assert all(len(column["values"]) == 120 for column in data["columns"])


# --- Every shape a study can take ---------------------------------------------------------------


def every_form(path):
    report = gather_report(path)
    png = pareto_png(report)
    assert png.startswith(b"\x89PNG")
    return html_page(report), markdown_page(report), front_text(path)


def test_no_feasible_trial_gives_the_nearest_miss(tmp_path):
    rows = [row for row in ROWS if not row.get("feasible")]
    texts = every_form(folder_of(tmp_path, rows))
    for text in texts:
        assert "No configuration tried meets every constraint" in text
    nearest = min((row for row in rows if row["status"] == "completed"),
                  key=lambda row: row["violation"])  # fmt: skip
    assert f"The nearest miss is trial {nearest['number']} " in texts[0]
    assert front_table(tmp_path)[1] == []


def test_no_completed_trial_gives_the_reasons(tmp_path):
    rows = [row for row in ROWS if row["status"] != "completed"]
    for text in every_form(folder_of(tmp_path, rows)):
        assert "No trial completed" in text


def test_one_objective_has_one_best(tmp_path):
    study = STUDY | {"objectives": {"ttft_ms.p99": "minimize"}, "constraints": []}
    for text in every_form(folder_of(tmp_path, study=study)):
        assert "Lowest TTFT p99: mi300x, TP 8" in text.replace("\N{NO-BREAK SPACE}", " ")
        assert "(knee)" not in text


def test_three_objectives_have_a_knee_too(tmp_path):
    study = STUDY | {"objectives": STUDY["objectives"] | {"tpot_ms.p99": "minimize"}}
    every_form(folder_of(tmp_path, study=study))
    report = gather_report(tmp_path)
    assert report.knee in report.front["number"].tolist()
    assert set(report.best) == set(study["objectives"])


def test_a_study_without_parameters_or_metrics_values_is_reported(tmp_path):
    row = {name: ROWS[155][name] for name in ("trial_key", "number", "status", "seed")}
    every_form(folder_of(tmp_path / "one", [row], row_schema=trial_schema({}, METRICS)))
    every_form(folder_of(tmp_path / "all", ROWS[155:156]))


def test_many_trials_are_thinned_out_but_never_the_front(tmp_path):
    rows = []
    for copy in range(40):
        for row in ROWS:
            key = f"{copy:04d}{row['trial_key'][4:]}"
            rows.append(row | {"trial_key": key, "number": copy * 160 + row["number"]})
    report = gather_report(folder_of(tmp_path, rows))
    page = html_page(report)
    data = json.loads(Reader(page).scripts[0])
    assert len(data["number"]) < 4200
    assert sum(data["front"]) == len(report.front) == 40 * 5
    assert "of 4,800 completed trials are drawn" in page


def test_a_folder_without_objectives_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"study\.json: objectives: the study names no objectives"):
        gather_report(folder_of(tmp_path, study=STUDY | {"objectives": {}}))


# --- Hostile names ------------------------------------------------------------------------------

EVIL = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<a href='javascript:alert(1)'>click</a>",
    "=HYPERLINK(1)|`$(id)`\u2028\u202e\x1b[31m\x00",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    path, param = "clients.</script><b>x.device", "param.clients.</script><b>x.device"
    rows = []
    for row in ROWS:
        changed = {name: value for name, value in row.items() if not name.startswith("param.")}
        changed[param] = EVIL[row["number"] // 40]
        changed["param.workload.rate"] = row["number"] % 40
        changed["host"] = EVIL[0]
        if "error" in row:
            changed["error"] = EVIL[row["number"] % len(EVIL)]
        rows.append(changed)
    study = STUDY | {"name": EVIL[0], "question": EVIL[1], "constraints": [EVIL[0]]}
    return folder_of(
        tmp_path_factory.mktemp("hostile"),
        rows,
        study,
        trial_schema({path: str, "workload.rate": int}, METRICS, STUDY["study_key"]),
    )


def test_hostile_names_add_no_element_and_no_handler(hostile, page):
    reader = Reader(html_page(gather_report(hostile)))
    assert set(reader.tags) <= set(Reader(page).tags)
    assert reader.tags.count("script") == 3
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert reader.values("href") == reader.values("src") == []


def test_hostile_names_are_only_words_in_markdown_and_terminal(hostile):
    text = markdown_page(gather_report(hostile))
    assert not re.search(r"<(?!/?sub>)", re.sub(r"(?<!\\)`[^`\n]*`", "", text))
    assert "\\|\\`\\$(id)\\`" in text
    assert "hermes sweep script-script-alert-1-script.yaml" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u2028\u202e]", text + front_text(hostile))


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium to open the page in")
def test_a_browser_draws_the_page_and_runs_nothing_hostile(hostile, tmp_path):
    page = write_report(hostile)["html"]
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    drawn = Reader(done.stdout)
    assert drawn.tags.count("script") == 3
    assert "img" not in drawn.tags
    assert not [name for _, name, _ in drawn.attributes if name.startswith("on")]
    assert [link for link in drawn.values("href") if link] == []
    classes = " ".join(map(str, drawn.values("class")))
    assert "scatterlayer" in classes
    assert "on-front knee" in classes
