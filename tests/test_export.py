"""What CI and other programs read: exports, job summary, JUnit, badges."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as Xml

import pandas as pd
import pytest
from tests.test_site import GENERALISATION

from repro.export import FORMATS, export, rows, tex
from repro.judge import Verdict
from repro.junit import write_junit
from repro.project import Project
from repro.statistics import Outcome
from repro.summary import MOST, summary
from repro.words import markdown, printed

EVIL = '<script>alert("x")</script> | 50 % of {a_b} & $x^2$ \\ #1 `code` *bold* [link](x)'


@pytest.fixture
def run_toy(toy):
    toy.edit("statement: It is 80 % right.", f"statement: {json.dumps(EVIL)}")
    toy.run("full")
    return toy


def table(toy) -> list[dict[str, object]]:
    return rows({"toy": toy.ledger}, list(toy.verdicts().values()), {"H1": "why not"})


def test_all_formats_hold_every_claim(run_toy) -> None:
    expected = [c.id for c in run_toy.ledger.all_claims()]
    every, ledgers = table(run_toy), {"toy": run_toy.ledger}
    files = {kind: export(kind, every, ledgers) for kind in FORMATS}
    assert [row["claim"] for row in json.loads(files["json"])["claims"]] == expected
    read = list(csv.DictReader(io.StringIO(files["csv"].decode())))
    assert [row["claim"] for row in read] == expected
    frame = pd.read_parquet(io.BytesIO(files["parquet"]))
    assert list(frame["claim"]) == expected
    assert frame.set_index("claim")["measured"].dtype == float
    assert [row["statement"] for row in read if row["claim"] == "V1"] == [EVIL]
    assert frame.set_index("claim").loc["V1", "statement"] == EVIL
    assert files["bibtex"].decode() == "@misc{toy}\n"
    tex_rows = files["latex"].decode().split("\\endhead\n")[1].split("\\bottomrule")[0]
    assert tex_rows.count("\\\\\n") == len(expected)


def test_numbers_are_the_verdicts(run_toy) -> None:
    verdicts = run_toy.verdicts()
    for row in table(run_toy):
        verdict = verdicts[str(row["claim"])]
        assert (row["outcome"], row["n"], row["measured"]) == (verdict.outcome, verdict.n, verdict.measured)
        assert (row["low"], row["high"]) == (verdict.interval or (None, None))


def test_an_interval_of_one_run_has_no_ends(toy) -> None:
    """Of a ratio it reaches from nought to infinity, and neither is a bound that was found."""
    toy.edit("  - id: P1\n", GENERALISATION)
    toy.run("full", "growth", seeds=[0])
    every = table(toy)
    (row,) = (row for row in every if row["claim"] == "G1")
    assert row["measured"] is not None
    assert (row["low"], row["high"]) == (None, None)
    for kind in FORMATS:
        export(kind, every, {"toy": toy.ledger})


def test_where_the_number_given_is_found_is_exported(run_toy) -> None:
    for row in table(run_toy):
        assert row["where"] == run_toy.verdicts()[str(row["claim"])].where


def test_a_work_that_two_papers_cite_is_one_entry(run_toy) -> None:
    twice = {"toy": run_toy.ledger, "again": run_toy.ledger}
    assert export("bibtex", [], twice).decode() == "@misc{toy}\n"


def test_latex_has_every_letter_of_the_papers_statements() -> None:
    """A letter that pdflatex does not know stops it."""
    project = Project(Path(__file__).resolve().parents[1])
    claims = [claim for paper in project.paper_ids() for claim in project.ledger(paper).all_claims()]
    assert len(claims) > 400
    text = "".join(tex(part) for claim in claims for part in (claim.id, claim.statement, printed(claim)))
    assert {letter for letter in text if ord(letter) > 127} <= set("éèüöäßćčšž–—“”‘’")


def test_nothing_to_export_is_a_file_all_the_same() -> None:
    for kind in FORMATS:
        assert export(kind, [], {}) is not None


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(run_toy, tmp_path: Path) -> None:
    body = export("latex", table(run_toy), {"toy": run_toy.ledger}).decode()
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,longtable}\\begin{document}"
        f"{body}\\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_escapes_what_it_would_read(run_toy) -> None:
    assert tex("a_b & 5 % ± $x$ \\ {}") == r"a\_b \& 5 \% $\pm$ \$x\$ \textbackslash{} \{\}"
    shown = tex(EVIL)
    assert not re.search(r"(?<!\\)[%&#_$]", shown)


def test_the_command_writes_files(run_toy, ask, tmp_path: Path) -> None:
    for kind in FORMATS:
        out = tmp_path / f"claims.{kind}"
        assert ask("export", "--format", kind, "--records", "local", "--out", str(out)).code == 0
        assert out.stat().st_size > 0
    shown = ask("export", "--records", "local")
    assert shown.out == (tmp_path / "claims.csv").read_text()
    refused = ask("export", "--format", "parquet")
    assert (refused.code, "--out" in refused.err) == (2, True)


def test_the_summary_shows_first_what_fails(run_toy) -> None:
    run_toy.edit("published: {value: 80.0}", "published: {value: 90.0}")
    verdicts = list(run_toy.verdicts().values())
    text = summary({"toy": run_toy.ledger}, verdicts, {})
    failing, others = text.split("<details>")
    assert "| V1 | ✗ contradicted |" in failing
    assert "| O1 |" in others
    assert "<script>" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}, "no text breaks a column"
    excused = summary({"toy": run_toy.ledger}, verdicts, {"V1": "a misprint"})
    assert "| V1 |" in excused.split("<details>")[1]
    assert "a misprint" in excused


def test_a_long_summary_says_what_it_leaves_out(run_toy) -> None:
    verdicts = [Verdict("V1", "toy", "value", Outcome.not_run)] * (MOST + 5)
    assert "and 5 more" in summary({"toy": run_toy.ledger}, verdicts, {})


def test_a_cell_is_one_line_of_text() -> None:
    assert "\n" not in markdown("a\nb")
    assert markdown("<b>|`x`") == r"\<b\>\|\`x\`"


def test_junit_survives_the_colours_of_a_traceback(tmp_path: Path) -> None:
    verdict = Verdict(
        "X", "toy", "value", Outcome.error, reasons=["\x1b[31mred\x1b[0m \x00 <b> é \U0001f600"]
    )
    write_junit(tmp_path / "j.xml", [verdict], {})
    (error,) = Xml.parse(tmp_path / "j.xml").iter("error")
    assert error.get("message") == "[31mred[0m  <b> é \U0001f600"


def test_judge_writes_all_that_a_job_shows(run_toy, ask, tmp_path: Path) -> None:
    page = tmp_path / "summary.md"
    page.write_text("what an earlier step said\n")
    answer = ask("judge", "--records", "local", "--junit", str(tmp_path / "j.xml"), "--summary", str(page),
                 "--badges", str(tmp_path / "badges"))  # fmt: skip
    assert answer.code == 0
    assert page.read_text().startswith("what an earlier step said\n## Claims")
    cases = list(Xml.parse(tmp_path / "j.xml").iter("testcase"))
    assert len(cases) == len(run_toy.ledger.all_claims())
    assert sorted(p.name for p in (tmp_path / "badges").iterdir()) == ["toy.json", "toy.svg"]
