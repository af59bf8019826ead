"""The weekly review: its form, blocks that renew themselves, prose that stays, beliefs, mistakes."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.test_site import EVIL, GENERALISATION, Page

from repro.errors import ReproError
from repro.report import weekly
from repro.report.pages import write_site
from repro.words import markdown

WEEK = "2026-W08"
BELIEF = """
```yaml
believe:
  - id: mine-1
    kind: threshold
    statement: It is above 75 %.
    measure: {experiment: train, quantity: accuracy}
    bound: 75.0
    direction: above
  - id: mine-2
    kind: threshold
    statement: With more steps it is above 99 %.
    measure: {experiment: train, quantity: accuracy, setting: {steps: 7}}
    bound: 99.0
    direction: above
```
"""


@pytest.fixture
def run_toy(toy):
    toy.run("full")
    return toy


@pytest.fixture
def path(run_toy) -> Path:
    return weekly.new(run_toy.project, WEEK, ["toy"])


def block(text: str, name: str) -> str:
    return text.split(weekly.begin(name))[1].split(weekly.end(name))[0]


def files(toy) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in weekly.folder(toy.project).iterdir()}


def believing(path: Path, belief: str = BELIEF) -> None:
    text = path.read_text()
    path.write_text(
        text.replace(f"{weekly.begin('beliefs toy')}", f"{belief}\n{weekly.begin('beliefs toy')}")
    )


def test_the_form(path: Path, run_toy) -> None:
    text = path.read_text()
    assert text.startswith(
        "---\ntitle: Literature review - Week 8\ncategory: literature-review\npapers: [toy]\n---\n"
    )
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert headings == [
        "## What changed", "## A toy", "### Summary", "### Questions on first reading", "### Answers",
        "### What is claimed", "### What we find", "### Generalisation in system size", "### Surprises",
        "### Open questions", "### What I do not believe", "### Verdict in words",
    ]  # fmt: skip
    assert "A. Nobody (2020): A toy. Nowhere." in block(text, "citation toy")
    assert "Table 1: 4 values of accuracy" in block(text, "claimed toy")
    assert "Of 12 claims:" in block(text, "found toy")
    assert "No claim about generalisation" in block(text, "sizes toy")
    assert "Blocked" in block(text, "open toy")
    assert "first review" in block(text, "changes")


def test_building_again_changes_nothing(path: Path, run_toy) -> None:
    before = files(run_toy)
    page = weekly.build(run_toy.project, WEEK)
    content = page.read_bytes()
    assert weekly.build(run_toy.project) == page, "the latest, where none is named"
    assert (files(run_toy), page.read_bytes()) == (before, content)


def test_prose_stays_byte_for_byte(path: Path, run_toy) -> None:
    """Also with other line ends, no last line end, characters of any kind, and words that look like patterns."""
    prose = "Räksmörgås \\1 \\g<0> $x$ ``` \r\n<!-- my own note -->\ttabs  "
    text = path.read_text().replace("<!-- yours: what you found out -->", prose) + "the end"
    path.write_bytes(text.encode())
    run_toy.edit("published: {value: 80.0}", "published: {value: 90.0}")
    weekly.build(run_toy.project, WEEK)
    after = path.read_bytes().decode()
    assert prose in after
    assert after.endswith("the end")
    assert "Contradicted" in block(after, "surprises toy")

    def outside(text: str) -> str:
        return re.sub(r"(<!-- generated: (.*?) -->).*?(<!-- end of \2 -->)", r"\1\3", text, flags=re.DOTALL)

    assert outside(after) == outside(text)


def test_a_belief_is_judged_like_a_claim(path: Path, run_toy) -> None:
    believing(path)
    weekly.build(run_toy.project, WEEK)
    found = block(path.read_text(), "beliefs toy").strip().splitlines()
    assert found[0].startswith("- ✓ **reproduced**: “It is above 75 %.” (above 75), 10 runs")
    assert found[1].startswith("- – **not run**")
    assert "`repro run toy --experiment train --set steps=7`" in found[1]
    assert "Of 12 claims" in block(path.read_text(), "found toy"), "the paper's claims stay the paper's"


@pytest.mark.parametrize("indent", ["  ", "- ", "  - "])
def test_a_belief_may_be_indented_or_stand_in_a_list(path: Path, run_toy, indent: str) -> None:
    lines = BELIEF.strip().splitlines()
    believing(path, "\n".join([indent + lines[0], *(" " * len(indent) + line for line in lines[1:])]))
    weekly.build(run_toy.project, WEEK)
    assert (
        block(path.read_text(), "beliefs toy").strip().startswith("- ✓ **reproduced**: “It is above 75 %.”")
    )


def test_a_belief_below_a_papers_heading_is_that_papers(path: Path, run_toy) -> None:
    path.write_text(
        path.read_text().replace(weekly.begin("citation toy"), BELIEF + weekly.begin("citation toy"))
    )
    weekly.build(run_toy.project, WEEK)
    assert "It is above 75 %" in block(path.read_text(), "beliefs toy")


@pytest.mark.parametrize(
    ("belief", "words"),
    [
        (BELIEF.replace("```yaml", "```"), "write that after its fence"),
        (BELIEF.replace("believe:", "believes:"), "believes"),
    ],
)
def test_a_belief_that_nobody_would_judge_is_refused(path: Path, run_toy, belief: str, words: str) -> None:
    believing(path, belief)
    with pytest.raises(ReproError, match=words):
        weekly.build(run_toy.project, WEEK)


def test_a_belief_about_no_paper_is_refused(path: Path, run_toy) -> None:
    path.write_text(path.read_text().replace("## What changed", f"{BELIEF}\n## What changed"))
    with pytest.raises(ReproError, match="belongs to no paper"):
        weekly.build(run_toy.project, WEEK)


@pytest.mark.parametrize(
    ("belief", "words"),
    [
        (f"<!-- {BELIEF} -->", "in a comment"),
        (BELIEF.replace("believe:", "beleive:"), "did you mean `believe`"),
        (BELIEF.rstrip().removesuffix("```"), "never closed"),
    ],
)
def test_a_belief_that_would_not_be_read_is_told(path: Path, run_toy, belief: str, words: str) -> None:
    believing(path, belief)
    before = files(run_toy)
    with pytest.raises(ReproError, match=words):
        weekly.build(run_toy.project, WEEK)
    assert files(run_toy) == before


def test_prose_after_a_comments_beginning_in_code_is_shown(path: Path, run_toy) -> None:
    path.write_text(
        path.read_text() + "\nA lone `<!--` begins a comment. This is read.\n\n<!-- not this -->\n"
    )
    page = Page(weekly.build(run_toy.project, WEEK))
    assert "This is read." in page.text
    assert "not this" not in page.text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bound: 75.0", "bund: 75.0", "unknown key"),
        ("id: mine-1", "id: V1", "taken"),
        ("quantity: accuracy}\n    bound: 75.0", "quantity: speed}\n    bound: 75.0", "does not produce"),
        ("{steps: 7}", "{stps: 7}", "steps"),
        (BELIEF, "```yaml\nbelieve: everything\n```\n", "list"),
    ],
)
def test_a_mistake_in_a_belief_names_its_line(path: Path, run_toy, old: str, new: str, words: str) -> None:
    believing(path, BELIEF.replace(old, new))
    before = files(run_toy)
    with pytest.raises(ReproError, match=words) as told:
        weekly.build(run_toy.project, WEEK)
    line = int(re.search(r"\.md:(\d+):", str(told.value))[1])
    text = path.read_text().splitlines()
    first = max(i for i, t in enumerate(text, 1) if t.startswith("believe:"))
    wrong = new.split("\n")[-1].strip() if BELIEF not in old else "believe: everything"
    at = next(i for i, t in enumerate(text, 1) if i >= first and wrong in t)
    assert abs(line - at) <= 1, "the line of the key itself, or of what stands above it"
    assert files(run_toy) == before


def test_what_changed_since_last_week(path: Path, run_toy) -> None:
    run_toy.edit("published: {value: 80.0}", "published: {value: 90.0}")
    run_toy.edit("  - id: H1", "  - id: H2")
    run_toy.run("full", "train", seeds=range(10, 12))
    later = weekly.new(run_toy.project, "2026-W09", ["toy"])
    text = block(later.read_text(), "changes")
    assert "- V1: ✓ reproduced → ✗ contradicted" in text
    assert "- H2: new → ✓ reproduced" in text
    assert "- H1: ✓ reproduced → gone" in text
    assert "claims have new numbers" in text
    assert "since 2026-W08" in text
    assert "first review" in block(path.read_text(), "changes"), "the earlier one is as it was"
    before = files(run_toy)
    with pytest.raises(ReproError, match="2026-W09 is built already"):
        weekly.build(run_toy.project, WEEK)
    assert files(run_toy) == before, "history is not rewritten"


def test_stale_records_and_drift_are_told(path: Path, run_toy) -> None:
    from repro.records import read_folder, write_parquet

    kept = [r for r in read_folder(run_toy.folder, "toy")[0] if r.experiment == "train"]
    write_parquet(run_toy.project.reference / "toy.parquet", kept)
    weekly.build(run_toy.project, WEEK)
    assert "own runs: none in" in block(path.read_text(), "changes")
    run_toy.path("model").write_text('LEAD = {"a": 0.0, "b": 2.0, "c": 2.6}\n')
    weekly.build(run_toy.project, WEEK)
    assert re.search(r"toy: \d+ records are stale", block(path.read_text(), "changes"))


def test_a_paper_of_this_week_is_new(run_toy) -> None:
    note = weekly.folder(run_toy.project) / "2026-W07.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"claims": {}, "papers": {}}))
    text = block(weekly.new(run_toy.project, WEEK, ["toy"]).read_text(), "changes")
    assert "- toy is new, with 12 claims." in text
    assert "→" not in text
    note.write_text("{")
    with pytest.raises(ReproError, match=r"2026-W07.json: cannot be read"):
        weekly.build(run_toy.project, WEEK)


def test_the_figure_is_part_of_the_page(run_toy) -> None:
    run_toy.edit("  - id: P1\n", GENERALISATION)
    run_toy.run("full", "growth")
    path = weekly.new(run_toy.project, WEEK, ["toy"])
    assert f"]({WEEK}-toy-sizes.svg)" in block(path.read_text(), "sizes toy")
    assert (path.parent / f"{WEEK}-toy-sizes.svg").read_bytes().startswith(b"<?xml")
    page = weekly.build(run_toy.project, WEEK)
    (picture,) = Page(page).all("img")
    assert str(picture["src"]).startswith("data:image/svg+xml;base64,")
    assert "cost" in str(picture["alt"])


def test_text_is_text_on_the_page_too(run_toy) -> None:
    run_toy.edit("statement: It is 80 % right.", f"statement: {json.dumps(EVIL + ' **b** | `c`')}")
    run_toy.edit("published: {value: 80.0}", "published: {value: 90.0}")
    run_toy.edit("  title: A toy", f"  title: {json.dumps(EVIL)}")
    path = weekly.new(run_toy.project, WEEK, ["toy"])
    path.write_text(path.read_text() + f"\n{EVIL}\n\n[x](javascript:alert(1)) ![x](../../secret.svg)\n")
    page = Page(weekly.build(run_toy.project, WEEK))
    assert page.all("script") == page.all("img") == []
    assert not any("javascript" in str(a.get("href")) for a in page.all("a"))
    assert page.text.count(EVIL) >= 3, "title, statement and prose are shown as they are"
    assert "**b** | `c`" in page.text
    assert "<!--" not in page.text


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60))
@example("1. one")
@example("# <!-- end of changes --> <b>&amp;</b> | ~~x~~ $y$ ![i](u) [l](javascript:x) `c` \\ *e* _f_")
def test_any_text_is_shown_as_it_is(text: str) -> None:
    """What `markdown` makes of a text, rendered as a page renders it, reads as the text."""
    import mistune

    made = markdown(text)
    assert "\n" not in made
    assert "<!--" not in made
    html = mistune.create_markdown(escape=True, plugins=["table", "strikethrough"])(f"- x {made}\n- {made}\n")
    shown = re.findall(r"<li>(.*?)</li>", html, re.DOTALL)
    wanted = " ".join(text.split())
    read = [" ".join(unescape(re.sub(r"^<p>|</p>$", "", line.strip())).split()) for line in shown]
    assert read == [f"x {wanted}".strip(), wanted]


def test_the_board_leads_to_the_reviews(path: Path, run_toy) -> None:
    write_site(run_toy.project, weekly.weeks(run_toy.project))
    links = [a["href"] for a in Page(run_toy.project.site / "index.html").all("a")]
    assert f"weekly/{WEEK}.html" in links


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("week", "words"),
    [("2026-W54", "weeks 1 to 53"), ("2025-W53", "weeks 1 to 52"), ("2026-W00", "no such week"), ("week 8", "2026-W08"),
     ("2026-W8", "2026-W08"), ("../../x", "2026-W08"), ("0000-W01", "no such week")],
)  # fmt: skip
def test_a_week_that_does_not_exist(run_toy, week: str, words: str) -> None:
    for call in (
        lambda: weekly.new(run_toy.project, week, ["toy"]),
        lambda: weekly.build(run_toy.project, week),
    ):
        with pytest.raises(ReproError, match=re.escape(words)):
            call()
    assert not weekly.folder(run_toy.project).exists()


def test_papers_that_are_not_there(run_toy, path: Path) -> None:
    for papers, words in (
        (["tyo"], "did you mean `toy`"),
        ([], "name each paper once"),
        (["toy", "toy"], "once"),
    ):
        with pytest.raises(ReproError, match=words):
            weekly.new(run_toy.project, "2026-W10", papers)
    assert weekly.weeks(run_toy.project) == [WEEK]
    path.write_text(path.read_text().replace("papers: [toy]", "papers: [toy, tyo]"))
    before = files(run_toy)
    with pytest.raises(ReproError, match="no paper `tyo`"):
        weekly.build(run_toy.project, WEEK)
    assert files(run_toy) == before


@pytest.mark.parametrize("name", ["changes", *(f"{b} toy" for b in weekly.BLOCKS)])
@pytest.mark.parametrize("marker", [weekly.begin, weekly.end])
def test_a_marker_that_was_deleted(run_toy, path: Path, name: str, marker) -> None:
    path.write_text(path.read_text().replace(marker(name), ""))
    run_toy.edit("published: {value: 80.0}", "published: {value: 90.0}")
    before = files(run_toy)
    with pytest.raises(ReproError, match=f"the block `{name}` needs the lines") as told:
        weekly.build(run_toy.project, WEEK)
    assert str(path) in str(told.value)
    assert files(run_toy) == before, "the file, and what lies beside it, stay as they were"


def test_markers_twice_or_in_the_wrong_order(run_toy, path: Path) -> None:
    good = path.read_text()
    for bad in (good + weekly.begin("changes"), good.replace(weekly.begin("changes"), "X").replace(
            weekly.end("changes"), weekly.begin("changes")).replace("X", weekly.end("changes"))):  # fmt: skip
        path.write_text(bad)
        with pytest.raises(ReproError, match="once each, in this order"):
            weekly.build(run_toy.project, WEEK)
        assert path.read_text() == bad


@pytest.mark.parametrize(
    ("matter", "words"),
    [("", "front matter"), ("---\ntitle: [\n---\n", "not valid YAML"), ("---\n- a\n---\n", "front matter"),
     ("---\ntitle: T\ncategory: c\npapers: toy\n---\n", "`papers` is missing or no list"),
     ("---\ntitle: 8\ncategory: c\npapers: [toy]\n---\n", "`title` is missing or no text")],
)  # fmt: skip
def test_front_matter_that_does_not_say_what_it_must(run_toy, path: Path, matter: str, words: str) -> None:
    path.write_text(re.sub(r"\A---.*?---\n", lambda _: matter, path.read_text(), flags=re.DOTALL))
    with pytest.raises(ReproError, match=words):
        weekly.build(run_toy.project, WEEK)


def test_other_mistakes(run_toy, ask) -> None:
    assert "there is no review yet" in ask("weekly", "build").err
    assert ask("weekly", "new", WEEK, "--papers", "toy").code == 0
    twice = ask("weekly", "new", WEEK, "--papers", "toy")
    assert (twice.code, "already" in twice.err) == (2, True)
    missing = ask("weekly", "build", "2026-W10")
    assert (missing.code, f"there is {WEEK}" in missing.err) == (2, True)
    (weekly.folder(run_toy.project) / f"{WEEK}.md").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in ask("weekly", "build").err
