"""The command line: a user's mistake ends in one message and exit code 2, and CI can stand on the exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from tests.conftest import Answer, Ask

from repro.cli.running import parse_seeds
from repro.errors import ReproError
from repro.records import read_folder, read_parquet, write_parquet

# ------------------------------------------------------------------ mistakes

MISTAKES: dict[tuple[str, ...], list[str]] = {
    ("run", "tyo"): ["no paper `tyo`", "did you mean `toy`?"],
    ("judge", "nobody"): ["no paper `nobody`", "there is toy"],
    ("run", "toy", "--experiment", "trian"): ["no experiment `trian`", "growth", "did you mean `train`?"],
    ("run", "toy", "--seeds", "abc"): ["--seeds abc", "7,12-15"],
    ("run", "toy", "--seeds", "0"): ["--seeds 0"],
    ("run", "toy", "--seeds", "5-3"): ["--seeds 5-3"],
    ("run", "toy", "--seeds", "1,,2"): ["--seeds 1,,2"],
    ("run", "toy", "--seeds", "-3"): ["--seeds -3"],
    ("run", "toy", "--set", "levle=3"): [
        "no setting `levle`",
        "labels, largest, level",
        "did you mean `level`?",
    ],
    ("run", "toy", "--experiment", "growth", "--set", "level=3"): ["no setting `level`", "largest, power"],
    ("run", "toy", "--set", "variant=d"): ["variant=d", "a, b, c"],
    ("run", "toy", "--set", "level=high"): ["level=high", "80.0"],
    ("run", "toy", "--set", "steps=1.5"): ["steps=1.5", "100"],
    ("run", "toy", "--set", "level"): ["--set level", "key=value"],
    ("run", "toy", "--set", "=3"): ["key=value"],
    ("run", "toy", "--set", "level=nan"): ["level=nan", "finite"],
    ("run", "toy", "--seeds", "0-99999999999"): ["at most 1,000,000"],
    ("run", "toy", "--claim", "V1", "--experiment", "growth"): ["nothing to run", "`growth`", "`train`"],
    ("run", "toy", "--deviation", "power"): ["no deviation `power` in toy"],
    ("run", "toy", "--claim", "V1", "--set", "power=2"): ["no setting `power`", "variant"],
    ("run", "toy", "--besides", "nowhere"): ["--besides nowhere", "reference"],
    ("judge", ""): ["no paper ``", "toy"],
    ("judge", "--records", ""): ["--records", "reference"],
    ("judge", "--records", "papers"): ["--records papers", "no records"],
    ("judge", "--records", "nowhere"): ["--records nowhere", "reference"],
    ("explain", "V2"): ["no claim `V2`", "V1"],
    ("explain", "T1-a-lwo"): ["T1-a-low"],
    ("status", "--records", "refrence"): ["--records refrence"],
    ("status", "toi"): ["toi", "toy"],
    ("data", "fetch", "corpsu"): ["'corpsu'", "Known"],
    ("keep", "tyo"): ["did you mean `toy`?"],
    ("new", "toy"): ["`toy`", "exists"],
    ("new", "My-Paper"): ["`My-Paper`", "my_paper"],
    ("run", "toy", "--out", "papers/toy/paper.yaml"): ["papers/toy/paper.yaml"],
    ("run", "toy", "--out", ""): ["--out", "current"],
    ("run", "toy", "--besides", ""): ["--besides"],
    ("run", "toy", "--set", "steps=3", "--set", "steps=4"): ["steps", "twice"],
    ("run", "toy", "--claim", "G9"): ["G9"],
    ("new", "weekly"): ["`weekly`", "weekly_paper"],
    ("judge", "toy", "--junit", "papers/toy/paper.yaml/junit.xml"): ["papers/toy/paper.yaml"],
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_told_in_one_line(ask: Ask, arguments: tuple[str, ...]) -> None:
    answer = ask(*arguments)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1, answer.err
    for word in MISTAKES[arguments]:
        assert word in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "toy", "--tier", "huge"), ["huge", "smoke", "quick", "long", "full"]),
        (("run", "toy", "--device", "tpu"), ["tpu", "cuda"]),
        (("run", "toy", "--teir", "full"), ["--teir", "--tier"]),
        (("rnu", "toy"), ["rnu", "run"]),
        (("run",), ["Missing argument"]),
        (("run", "toy", "--threads", "-1"), ["--threads"]),
        (("run", "toy", "--claim", "V1", "--claim", "V2"), ["--claim", "more than once"]),
    ],
)
def test_a_wrong_call_lists_what_is_valid(ask: Ask, arguments: tuple[str, ...], words: list[str]) -> None:
    answer = ask(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err


def test_a_mistake_in_a_ledger_is_told_in_one_line(ask: Ask, toy) -> None:
    toy.edit("    bound: 70.0\n", "    bund: 70.0\n")
    for arguments in (("list",), ("run", "toy"), ("judge",), ("explain", "V1"), ("status",)):
        answer = ask(*arguments)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert answer.err.startswith(f"error: {toy.file}:")
        assert "bund" in answer.err


def test_a_mistake_in_one_ledger_stops_no_other_paper(ask: Ask, toy) -> None:
    other = toy.root / "papers" / "other" / "paper.yaml"
    other.parent.mkdir()
    other.write_text("paper: {}\n")
    (toy.root / "papers" / "known_exceptions.yaml").write_text("OTHER: a claim of the broken ledger\n")
    assert ask("judge", "toy").code == 0
    assert ask("explain", "V1").code == 0
    for arguments in (("judge",), ("explain", "OTHER")):
        answer = ask(*arguments)
        assert answer.code == 2
        assert answer.err.startswith(f"error: {other}:")


def test_a_failed_seed_is_an_error_of_the_claim(ask: Ask, toy) -> None:
    """Those that did not fail are no fair sample."""
    text = 'yield seed, {"accuracy": level + noise}'
    toy.edit(text, f"assert seed < 3\n        {text}", "experiments.py")
    ask("run", "toy", "--tier", "full")
    answer = ask("judge", "toy", "--records", "local")
    assert answer.code == 1
    assert "V1" in answer.out
    assert "a run failed, so that the others are no fair sample: AssertionError" in answer.out


def test_damaged_reference_records_are_no_good_news(ask: Ask, toy) -> None:
    ask("run", "toy")
    path = toy.project.reference / "toy.parquet"
    write_parquet(path, read_folder(toy.project.local, "toy")[0])
    assert ask("judge").code == 0
    path.write_bytes(path.read_bytes()[:1000])
    answer = ask("judge")
    assert answer.code == 2
    assert "toy.parquet" in answer.err


def test_a_mistake_of_ours_is_not_taken_for_a_contradiction(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.judge.judge", lambda evidence: 1 / 0)
    answer = ask("judge")
    assert answer.code == 70
    assert "ZeroDivisionError" in answer.err


def test_records_of_other_quantities_are_stale(ask: Ask, toy) -> None:
    ask("run", "toy")
    toy.edit("quantities: [accuracy]", "quantities: [accuracy, cost]")
    answer = ask("judge", "--records", "local")
    assert answer.code == 0
    assert "not those that the ledger declares now" in ask("explain", "V1", "--records", "local").out


def test_two_papers_cannot_have_one_id(ask: Ask, toy) -> None:
    other = toy.root / "papers" / "toy2"
    shutil.copytree(toy.root / "papers" / "toy", other)
    (other / "paper.yaml").write_text(toy.file.read_text().replace("  id: toy\n", "  id: toy2\n"))
    answer = ask("explain", "V1")
    assert answer.code == 2
    assert "toy and toy2 both have a claim `T1-a-low`" in answer.err


def test_a_mistake_in_the_exceptions_is_told_in_one_line(ask: Ask, toy) -> None:
    (toy.root / "papers" / "known_exceptions.yaml").write_text("A1:\n")
    answer = ask("judge")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "known_exceptions.yaml" in answer.err


def test_outside_a_project(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    answer = ask("list")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "no folder `papers/`" in answer.err
    assert "REPRO_ROOT" in answer.err


def test_repro_root_names_the_project(ask: Ask, toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("REPRO_ROOT", str(toy.root))
    assert "A toy" in ask("list").out
    monkeypatch.setenv("REPRO_ROOT", str(elsewhere))
    assert ask("list").code == 2


def test_below_a_project(ask: Ask, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.root / "papers" / "toy")
    assert ask("list").code == 0


def test_no_gpu(ask: Ask) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    answer = ask("run", "toy", "--experiment", "counting", "--device", "cuda")
    assert (answer.code, answer.out) == (2, "")
    assert "--device cuda" in answer.err


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", [0, 1, 2]),
        ("1", [0]),
        ("7,", None),
        ("7,7", [7]),
        ("7,12-15", [7, 12, 13, 14, 15]),
        ("12-15,7", [7, 12, 13, 14, 15]),
        ("3-3", [3]),
        ("0-1,1-2", [0, 1, 2]),
        (" 7 , 9", [7, 9]),
        ("", None),
        ("abc", None),
        ("-1", None),
        ("1-", None),
        ("1--2", None),
        ("2.5", None),
        ("0", None),
        ("²", None),
        ("3,9-7", None),
    ],
)
def test_parse_seeds(text: str, seeds: list[int] | None) -> None:
    if seeds is not None:
        assert parse_seeds(text) == seeds
        return
    with pytest.raises(ReproError, match="--seeds"):
        parse_seeds(text)


# ------------------------------------------------------------------ what the commands do


def test_run_then_judge(ask: Ask, toy) -> None:
    """Data that is not there blocks what needs it, and all else runs and exits 0."""
    answer = ask("run", "toy", "--device", "cpu")
    assert answer.code == 0, answer.err
    assert "35 records written, 0 were there, 1 jobs blocked, 0 failed" in answer.out
    assert "blocked" in answer.err
    again = ask("run", "toy")
    assert (again.code, "0 records written, 35 were there" in again.out) == (0, True)
    judged = ask("judge", "toy", "--records", "local")
    assert judged.code == 0, judged.out
    assert "D1" in judged.out
    assert "blocked" in judged.out
    content = json.loads(ask("judge", "--records", "local", "--json").out)
    assert list(content) == ["verdicts"]
    outcomes = {v["claim"]: v["outcome"] for v in content["verdicts"]}
    assert (outcomes["V1"], outcomes["D1"]) == ("reproduced", "blocked")
    by_folder = json.loads(ask("judge", "--records", str(toy.folder), "--json").out)
    assert by_folder == content
    reference = json.loads(ask("judge", "--json").out)
    assert {v["claim"]: v["outcome"] for v in reference["verdicts"]} == {
        v: "blocked" if v == "D1" else "not_run" for v in outcomes
    }


def test_run_leaves_out_what_other_records_hold(ask: Ask, toy) -> None:
    others = str(toy.root / "others")
    ask("run", "toy", "--experiment", "train", "--seeds", "0-2", "--out", others)
    assert ask("run", "toy", "--experiment", "train", "--besides", others).code == 0
    seeds = {record.seed for record in read_folder(toy.root / "results" / "local", "toy")[0]}
    assert seeds == {3, 4}, "the quick tier has five"
    assert "no folder" in ask("run", "toy", "--besides", "nowhere").err


def test_status_of_a_smoke_run_looks_where_its_records_are(toy, ask) -> None:
    def growth() -> list[str]:
        """Experiment, planned, present, and what is missing if anything is."""
        return next(
            line for line in ask("status", "toy", "--tier", "smoke").out.splitlines() if "growth" in line
        ).split()

    assert growth() == ["growth", "2", "0", "2"]
    assert ask("run", "toy", "--tier", "smoke", "--experiment", "growth").code == 0
    assert growth() == ["growth", "2", "2"]


def test_a_tier_that_a_paper_does_not_have(ask: Ask, toy) -> None:
    answer = ask("run", "toy", "--tier", "long")
    assert answer.code != 0
    assert "no experiment of toy has a long tier" in answer.err
    assert "no experiment has a long tier" in ask("status", "--tier", "long").out


def test_run_takes_experiment_seeds_tier_and_settings(ask: Ask, toy) -> None:
    answer = ask(
        "run", "toy", "--experiment", "train", "--seeds", "7,12-13", "--tier", "smoke",
        "--set", "variant=b", "--set", "level=60", "--out", str(toy.root / "mine"),
    )  # fmt: skip
    assert answer.code == 0, answer.err
    records, _ = read_folder(toy.root / "mine", "toy")
    # of the smoke tier's settings only two differ once variant and level are overridden: the control's labels
    assert len(records) == 2 * 3
    assert {r.seed for r in records} == {7, 12, 13}
    assert {(r.setting["variant"], r.setting["level"], r.setting["steps"]) for r in records} == {
        ("b", 60.0, 3)
    }
    assert {r.setting["labels"] for r in records} == {"true", "shuffled"}
    assert not toy.folder.exists()


def test_an_override_applies_where_the_key_is(ask: Ask, toy) -> None:
    """`power` is a setting of one experiment; the others run as planned."""
    answer = ask("run", "toy", "--tier", "smoke", "--set", "power=2")
    assert answer.code == 0, answer.err
    records, _ = read_folder(toy.folder / "smoke", "toy")
    assert {r.setting.get("power") for r in records if r.experiment == "growth"} == {2.0}
    assert {r.experiment for r in records} == {"train", "growth", "counting"}


def test_a_failed_run_exits_1(ask: Ask, toy) -> None:
    toy.edit('    """Count things."""\n', '    raise ZeroDivisionError("by nought")\n', "audits.py")
    answer = ask("run", "toy", "--experiment", "counting")
    assert (answer.code, "1 failed" in answer.out) == (1, True)
    assert "by nought" in answer.err
    assert "Traceback" not in answer.err
    assert ask("judge", "--records", "local").code == 1


def test_judge_exits_1_on_a_contradiction(ask: Ask, toy) -> None:
    toy.edit("published: {value: 12}", "published: {value: 13}")
    ask("run", "toy", "--experiment", "counting")
    junit = toy.root / "junit.xml"
    assert ask("judge", "--records", "local", "--junit", str(junit)).code == 1
    assert [len(list(Xml.parse(junit).iter(tag))) for tag in ("failure", "error")] == [1, 0]
    assert ask("judge", "--records", "local", "--json").code == 1
    exceptions = toy.root / "papers" / "known_exceptions.yaml"
    exceptions.write_text("A1: the paper counts one thing twice\n")
    answer = ask("judge", "--records", "local", "--junit", str(junit))
    assert answer.code == 0
    assert "the paper counts one thing twice" in answer.out
    assert "contradicted" in answer.out, "it is shown as what it is"
    assert [len(list(Xml.parse(junit).iter(tag))) for tag in ("failure", "error")] == [0, 0]
    exceptions.write_text("V1: another claim\n")
    assert ask("judge", "--records", "local").code == 1


def test_judge_tells_of_damaged_records(ask: Ask, toy) -> None:
    ask("run", "toy", "--experiment", "counting")
    path = next(toy.folder.rglob("1.json"))
    path.write_text("{")
    answer = ask("judge", "--records", "local", "--json")
    assert str(path) in answer.err
    assert json.loads(answer.out)["verdicts"]
    assert str(path) in ask("status").out.replace("\n", "")


def test_explain_goes_down_to_code_and_machine(ask: Ask, toy) -> None:
    ask("run", "toy", "--experiment", "train", "--tier", "full")
    answer = ask("explain", "V1", "--records", "local")
    assert answer.code == 0
    (code,) = {r.code for r in read_folder(toy.folder, "toy")[0]}
    for word in ("It is 80 % right.", "page 1", "reproduced", "80", "± 3", code, "numpy", "shuffled", "0…9",
                 "variant = c", "repro run toy --claim V1 --tier full"):  # fmt: skip
        assert word in answer.out, word


def test_explain_what_was_not_run(ask: Ask) -> None:
    for claim in ("V1", "O1", "S1", "C1", "P1", "A1", "D1", "T1-a-low"):
        answer = ask("explain", claim)
        assert (answer.code, answer.err) == (0, "")
        assert ("no runs yet" if claim != "D1" else "no data set called 'corpus'") in answer.out


def test_explain_shows_brackets_as_they_are(ask: Ask, toy) -> None:
    toy.edit("There are 12 things.", '"There are [bold]12[/nothing] things."')
    toy.edit("title: A toy\n", 'title: "A toy [/x]"\n')
    assert "[bold]12[/nothing]" in ask("explain", "A1").out
    answer = ask("list")
    assert answer.code == 0
    assert "[bold]12[/nothing]" in answer.out


def test_status_counts(ask: Ask, toy) -> None:
    ask("run", "toy", "--experiment", "train", "--seeds", "2")
    answer = ask("status")
    line = next(line.split() for line in answer.out.splitlines() if line.strip().startswith("train"))
    assert line == ["train", "30", "12", "18"]
    toy.edit('"b": 2.0', '"b": 2.25', "model.py")
    line = next(line.split() for line in ask("status").out.splitlines() if line.strip().startswith("train"))
    assert line == ["train", "30", "0", "30", "12"]
    ask("run", "toy", "--experiment", "reading")
    assert "corpus" in ask("status").out


def test_list(ask: Ask) -> None:
    answer = ask("list")
    assert answer.code == 0
    for word in ("A toy", "T1-b-high", "ordering", "There are 12 things.", "not_run"):
        assert word in answer.out


def test_data_status_says_which_file_is_wrong(ask: Ask, toy) -> None:
    toy.give_data()
    assert ask("data", "verify") == Answer(0, "corpus: present\n", "")
    place = toy.root / "data" / "corpus" / "text"
    place.write_text("9")
    answer = ask("data", "verify")
    assert (answer.code, answer.out.splitlines()[0]) == (1, "corpus: corrupt")
    assert f"{place}: md5 expected" in answer.out
    place.unlink()
    assert f"missing in {place.parent}: text" in ask("data", "status").out


def test_keep_compacts_what_is_fresh(ask: Ask, toy) -> None:
    from repro.report.readme import BEGIN, END

    toy.write("README.md", f"# A toy\n\n{BEGIN}\n{END}\n")
    ask("run", "toy", "--experiment", "counting")
    assert ask("keep", "toy").code == 0
    compact = toy.root / "results" / "reference" / "toy.parquet"
    assert len(list(read_parquet(compact))) == 2
    ask("run", "toy", "--experiment", "growth")
    assert ask("keep", "toy").code == 0
    assert len(list(read_parquet(compact))) == 5
    toy.edit('"count": 12', '"count": 13', "audits.py")
    before = compact.read_bytes()
    answer = ask("keep", "toy")
    assert (answer.code, compact.read_bytes() == before) == (2, True), "stale records are not lost unasked"
    assert "2 stale records" in answer.err
    answer = ask("keep", "toy", "--drop-stale")
    assert answer.code == 0
    assert {r.experiment for r in read_parquet(compact)} == {"growth"}
    (next(toy.folder.rglob("2.json"))).write_text("{")
    answer = ask("keep", "toy")
    assert "left out" in answer.err
    assert len(list(read_parquet(compact))) == 3, "what was kept before stays"
    compact.write_bytes(compact.read_bytes()[:-9])
    assert ask("keep", "toy").code == 2, "a damaged reference is not written over"


# ------------------------------------------------------------------ help


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "run",
        "judge",
        "export",
        "drift",
        "explain",
        "status",
        "keep",
        "report",
        "new",
        "data fetch",
        "data verify",
    ],
)
def test_help_has_an_example(ask: Ask, command: str) -> None:
    answer = ask(*command.split(), "--help")
    assert answer.code == 0
    assert f"repro {command}" in answer.out.replace("Usage: repro", "")


def test_help_documents_the_exit_codes(ask: Ask) -> None:
    answer = ask("--help")
    assert answer.code == 0
    for word in ("Exit codes", "0 all is well", "1 a claim is contradicted", "2 a mistake"):
        assert word in " ".join(answer.out.split())


HEAVY = {
    "torch", "torch_geometric", "pandas", "scipy", "numpy", "snakemake", "dvc", "pydantic", "pyarrow", "matplotlib",
    "statsmodels", "yaml", "pooch", "requests", "psutil", "jinja2",
}  # fmt: skip


def loaded(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after running some code."""
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))",
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in json.loads(found.stdout.splitlines()[-1])}


def test_import_loads_nothing_heavy() -> None:
    modules = loaded("import repro.cli")
    assert "typer" in modules
    assert modules & HEAVY == set()


def test_help_loads_nothing_heavy() -> None:
    """So that it answers at once. (Typer itself may load pydantic.)"""
    modules = loaded("from repro.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass")
    assert modules & HEAVY <= {"pydantic"}
