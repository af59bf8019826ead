"""The site without a browser: everything is there, linked, escaped, and quick to build."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from repro.evidence import Evidence
from repro.plan import arm, jobs, resolve
from repro.project import Project
from repro.records import Record, read_folder, write_parquet
from repro.report.badges import message
from repro.report.changes import Change, compare, since_last_build
from repro.report.figures import mean_curve
from repro.report.notebook import Report
from repro.report.seeds import Distribution, distribution, drawing, ratio_ticks, ticks
from repro.report.site import write_site
from repro.report.sizes import _panels, _places

EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def thousand(toy) -> None:
    """A ledger with 1,000 more claims, each with five records in the reference."""
    steps, levels = range(1, 26), range(40)
    rows = "".join(f"      s{s}: {{steps: {s}}}\n" for s in steps)
    columns = "".join(f"      l{v}: {{level: {v}.0}}\n" for v in levels)
    published = "".join(f"      s{s}: {{{', '.join(f'l{v}: {v}.0' for v in levels)}}}\n" for s in steps)
    margins = "".join(f"      l{v}: {{value: 3.0, reason: it is a toy}}\n" for v in levels)
    table = (
        "  - id: BIG\n    statement: After {row} steps at {column} it is {value} % right.\n"
        "    anchor: {place: Table 9, page: 9, evidence: paper}\n"
        "    measure: {experiment: train, quantity: accuracy}\n"
        f"    rows:\n{rows}    columns:\n{columns}    published:\n{published}    margins:\n{margins}\nclaims:\n"
    )
    toy.edit("claims:\n  - id: V1", table + "  - id: V1")
    draw = np.random.default_rng(0)
    plan = toy.ledger.experiments["train"]
    records = [
        toy.record("train", seed, {"accuracy": v + draw.normal()}, {"steps": s, "level": float(v)})
        for s in steps
        for v in levels
        for seed in range(5)
    ]
    assert resolve(plan, {"steps": 1})["steps"] == 1
    write_parquet(toy.project.reference / "toy.parquet", records)


@pytest.fixture
def built(toy) -> Path:
    """The site of a toy that has been run."""
    toy.give_data()
    toy.run("full")
    write_site(toy.project)
    return toy.project.site


def test_every_claim_is_on_the_board_and_has_a_page(built: Path, toy) -> None:
    board = Page(built / "index.html")
    claims = {c.id for c in toy.ledger.all_claims()}
    rows = [a for a in board.all("tr") if "data-claim" in a]
    assert {a["data-claim"] for a in rows} == {f"toy/{c}" for c in claims}
    assert {path.stem for path in (built / "toy").glob("*.html")} == claims
    outcomes = {v.claim: str(v.outcome) for v in toy.verdicts().values()}
    assert {str(a["data-claim"])[4:]: a["data-outcome"] for a in rows} == outcomes
    ranks = [int(str(a["data-rank"])) for a in rows]
    assert ranks == sorted(ranks), "what needs attention comes first"


def test_a_claim_page_says_all_there_is(built: Path) -> None:
    page = Page(built / "toy" / "V1.html").text
    for part in ("It is 80 % right.", "reproduced", "10 runs, full tier", "your own records", "page 1",
                 "± 3: it is a toy", "the labels are shuffled", "contradicted", "does not say", "variant = c",
                 "10 records, seeds 0…9", "repro run toy --claim V1 --tier full", "@misc{toy}",
                 "read in the paper's own text"):  # fmt: skip
        assert part in page, part
    assert "early stopping" not in page


def test_the_drawing_shows_each_seed_once(built: Path) -> None:
    """One dot a seed; for an ordering one a seed and comparison; of curves one a seed and size."""
    for claim, dots in (("V1", 10), ("O1", 20), ("S1", 4), ("C1", 28), ("P1", 2), ("A1", 2)):
        page = Page(built / "toy" / f"{claim}.html")
        assert sum(a.get("class") == "dot" for a in page.all("circle")) == dots, claim
        assert next(a["aria-label"] for a in page.all("svg")), "it is said in words too"


def test_a_claim_links_to_the_work_it_is_made_in(toy) -> None:
    toy.edit(
        "quantities:\n  accuracy:",
        """works:
  other:
    title: Another toy
    arxiv: "2001.00001"
    version: v2
    bibtex: "@misc{other}"

quantities:
  accuracy:""",
    )
    toy.edit("{place: page 1, evidence: paper}", "{place: page 1, page: 3, work: other, evidence: paper}")
    toy.run("quick")
    write_site(toy.project)
    page = Page(toy.project.site / "toy" / "V1.html")
    assert [a["href"] for a in page.all("a") if "arxiv" in str(a.get("href"))] == [
        "https://arxiv.org/abs/2001.00001v2",
        "https://arxiv.org/pdf/2001.00001v2#page=3",
    ]
    assert "@misc{other}" in page.text
    assert "Also: Another toy" in Page(toy.project.site / "index.html").text


def test_a_property_shows_its_worst_run_and_what_is_allowed(built: Path) -> None:
    text = Page(built / "toy" / "P1.html").text
    assert "excess at most 0" in text
    assert "at worst 0 things" in text
    assert "allowed: at most 0" in text
    assert "claimed:" not in text


def test_what_a_check_of_ours_asks_for_is_not_called_claimed(built: Path) -> None:
    assert "Asked for" in Page(built / "toy" / "P1.html").text
    assert "Asked for" not in Page(built / "toy" / "V1.html").text
    rows = [a for a in Page(built / "index.html").all("tr") if "data-claim" in a]
    assert {a["data-claim"]: a["data-origin"] for a in rows}["toy/P1"] == "ours"


def links(site: Path) -> list[tuple[Path, str]]:
    return [
        (page, str(a[key]))
        for page in site.rglob("*.html")
        for tag, key in (("a", "href"), ("link", "href"), ("script", "src"), ("img", "src"))
        for a in Page(page).all(tag)
        if a.get(key)
    ]


def test_links_lead_somewhere_and_nothing_is_loaded_from_outside(built: Path) -> None:
    (built / "toy.html").write_text("")  # the executed notebook, which is not built here
    for page, link in links(built):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "data"), link
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), f"{page}: {link}"
    for page in built.rglob("*.html"):
        assert "http" not in "".join(str(a.get("src", "")) for _, a in Page(page).tags)
        for sheet in Page(page).all("link"):
            assert not str(sheet["href"]).startswith("http")
    assert "http" not in (built / "site.css").read_text() + (built / "site.js").read_text()


def test_text_from_a_ledger_is_shown_as_text(toy) -> None:
    toy.edit(
        "statement: It is 80 % right.", f"statement: {json.dumps(EVIL)}\n    trouble: {json.dumps(EVIL)}"
    )
    toy.edit("  title: A toy", f"  title: {json.dumps(EVIL)}")
    toy.edit("place: page 1, evidence", f"place: {json.dumps(EVIL)}, evidence")
    toy.edit("meaning: the labels are shuffled", f"meaning: {json.dumps(EVIL)}")
    toy.edit("paper: does not say", f"paper: {json.dumps(EVIL)}")
    toy.edit('bibtex: "@misc{toy}"', f"bibtex: {json.dumps(EVIL)}")
    toy.run("quick")
    write_site(toy.project)
    for page in toy.project.site.rglob("*.html"):
        read = Page(page)
        assert [a.get("src") for a in read.all("script")] in ([], ["site.js"]), page
        assert "alert(" not in re.sub(
            r"&lt;script&gt;alert\(&#34;x&#34;\)&lt;/script&gt;", "", page.read_text()
        )
    assert EVIL in Page(toy.project.site / "toy" / "V1.html").text
    assert EVIL in Page(toy.project.site / "index.html").text


def test_building_twice_changes_nothing(built: Path, toy) -> None:
    def content() -> dict[Path, tuple[bytes, int]]:
        return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in built.rglob("*.html")}

    before = content()
    write_site(toy.project)
    assert content() == before


def test_what_changed_since_the_last_build(built: Path, toy) -> None:
    assert "first build" in Page(built / "index.html").text
    toy.edit("published: {value: 80.0}", "published: {value: 70.0}")
    toy.edit("  - id: H1", "  - id: H2")
    for _ in range(2):  # built again from the same records, the page still tells what the last change was
        write_site(toy.project)
        text = " ".join(Page(built / "index.html").text.split())
        assert "3 verdicts turned or new" in text
        assert re.search(r"V1: ✓ reproduced → [✗▲] (contradicted|better)", text)
        assert "H2: new →" in text
        assert re.search(r"H1: \W reproduced → gone", text)
    assert not (built / "toy" / "H1.html").exists()
    assert (built / "toy" / "H2.html").exists()


def test_states_are_compared(tmp_path: Path) -> None:
    old = {"p/A": {"outcome": "reproduced", "measured": 1.0, "n": 5}, "p/B": {"outcome": "error"}}
    new = {"p/A": {"outcome": "reproduced", "measured": 1.1, "n": 6}, "p/C": {"outcome": "blocked"}}
    found = compare(old, new, "then")
    assert found.moved == 1
    assert found.turned == [Change("p", "C", None, "blocked"), Change("p", "B", "error", None)]
    note = tmp_path / "board.json"
    note.write_text("{ no JSON")
    assert since_last_build(note, old, "Monday").since is None, "a broken note is a first build"
    assert since_last_build(note, new, "Tuesday") == compare(old, new, "Monday")
    assert since_last_build(note, new, "Wednesday") == compare(old, new, "Monday")


def test_a_thousand_claims_are_quick_to_build(toy) -> None:
    """In processor time, 15 s would be slow: it takes about 4; the board must stay below 3 MB."""
    thousand(toy)
    began = time.process_time()
    index = write_site(toy.project)
    took = time.process_time() - began
    assert took < 15, f"{took:.1f} s"
    assert index.stat().st_size < 3_000_000
    assert len(list((toy.project.site / "toy").glob("*.html"))) > 1000


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.7, 12.2), (79.5, 83.3), (1e-7, 3e-7), (1e5, 1e7)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low - 1e-9 * abs(high) <= found[0] <= found[-1] <= high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0.9, 70, [1, 2, 5, 10, 20, 50]),
        (0.9, 1e5, [1, 10, 100, 1e3, 1e4, 1e5]),
        (1.1, 1.4, [1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4]),
    ],
)
def test_ticks_of_ratios(low: float, high: float, found: list[float]) -> None:
    assert ratio_ticks(low, high) == pytest.approx(found)


def test_what_is_not_finite_is_counted_not_drawn(toy) -> None:
    records = [toy.record("train", s, {"accuracy": 80.0 + s}) for s in range(3)]
    records.append(toy.record("train", 3, {"accuracy": float("inf")}))
    toy.write_records(records)
    report = Report("toy", toy.project)
    claim = toy.ledger.claim("V1")
    verdict = report.verdicts["yours"]["V1"]
    found = distribution(report.sources["yours"], claim, verdict)
    assert found is not None
    assert (len(found.rows[""]), found.dropped) == (3, 1)
    assert all(np.isfinite(x) for row in drawing(found)["rows"] for dot in row["dots"] for x in dot)


def test_equal_values_still_have_an_axis(toy) -> None:
    toy.run("quick", "counting")
    report = Report("toy", toy.project)
    found = distribution(report.sources["yours"], toy.ledger.claim("A1"), report.verdicts["yours"]["A1"])
    assert found is not None
    assert len(drawing(found)["ticks"]) > 1


def test_an_interval_of_one_seed_has_no_ends_to_draw() -> None:
    """Of a ratio it reaches from nought to infinity."""
    found = Distribution({"size 12": [1.5, 1.6], "size 24": [2.5]}, "ratio", 2.0, logarithmic=True)
    one, single = drawing(found)["rows"]
    assert None not in one["mean"]
    assert single["mean"][1:] == [None, None]
    assert np.isfinite(single["mean"][0])


def test_badges(built: Path, toy) -> None:
    badge = json.loads((built / "badges" / "toy.json").read_text())
    assert set(badge) == {"schemaVersion", "label", "message", "color"}
    assert badge["schemaVersion"] == 1
    svg = Xml.parse(built / "badges" / "toy.svg").getroot()
    assert badge["message"] in "".join(svg.itertext())
    own = {c.id for c in toy.ledger.all_claims() if c.anchor.evidence != "ours"}
    verdicts = [v for v in toy.verdicts().values() if v.claim in own]
    assert len(verdicts) < len(toy.verdicts()), "checks of ours are none of the paper's"
    held = sum(v.outcome in ("reproduced", "better") for v in verdicts)
    against = sum(v.outcome == "contradicted" for v in verdicts)
    said = f"{held} hold" + (f", {against} contradicted" if against else "")
    rest = len(verdicts) - held - against
    assert badge["message"] == said + (f", {rest} open" if rest else "")
    assert message([]) == ("nothing settled", "#666666")


def test_a_run_for_one_claim_runs_what_it_needs(toy) -> None:
    ledger = toy.ledger
    wanted = jobs(ledger, "quick", claim_id="V1")
    assert {"V1" in " ".join(job.needed_by) for job in wanted} == {True}
    assert {job.setting["labels"] for job in wanted} == {"true", "shuffled"}, "its control as well"
    assert jobs(ledger, "full", claim_id="S1")
    assert not jobs(ledger, "full", "train", "S1"), "which needs another experiment"


GENERALISATION = """\
  - id: G1
    kind: generalisation
    statement: Beyond size 4 it breaks.
    anchor: {place: Figure 2, evidence: paper}
    measure: {experiment: growth, quantity: cost, setting: {power: 2.0}}
    relative_to: training_sizes
    survives: [{power: 1.5}]
    trained: [2, 4]
    sizes: [16]
    limit: 2.0
    expect: breaks
  - id: P1
"""


def test_generalisation_in_size_is_drawn(toy) -> None:
    toy.run("full", "growth")
    write_site(toy.project)
    board = toy.project.site / "index.html"
    assert "Generalisation in system size" not in Page(board).text
    toy.edit("  - id: P1\n", GENERALISATION)
    toy.run("full", "growth")
    write_site(toy.project)
    figures = Page(board).all("img")
    assert len(figures) == 1
    assert "cost against system size" in str(figures[0]["alt"])
    page = Page(toy.project.site / "toy" / "G1.html")
    assert "breaking point 8" in page.text
    # Sizes 1, 8, 16, 32 and 64 were not trained at, and of the other arm 16, 32 and 64 are tested; four seeds each.
    assert sum(a.get("class") == "dot" for a in page.all("circle")) == 32
    assert "size 16, power 1.5" in page.text
    assert "size 16" in page.text


def records(toy) -> list[Record]:
    return read_folder(toy.folder, "toy")[0]


def test_bands_of_folds_are_as_wide_as_their_intervals(toy) -> None:
    """Folds share training data: an interval that takes them for independent is too narrow."""
    toy.run("full", "growth")
    of = arm(toy.ledger, "growth", {"power": 1.0})
    _, _, free = mean_curve(Evidence(toy.ledger, records(toy)), of, "cost")
    toy.edit("    function: experiments.growth\n", "    function: experiments.growth\n    folds: 4\n")
    _, _, folds = mean_curve(Evidence(toy.ledger, records(toy)), of, "cost")
    (low, high), (a, b) = free[-1], folds[-1]
    assert (b - a) / (high - low) == pytest.approx(((1 / 4 + 1 / 3) / (1 / 4)) ** 0.5)


def test_a_run_without_a_number_leaves_a_gap_in_the_curve(toy) -> None:
    """Without it the mean would be that of the runs that went well."""
    toy.run("full", "growth")
    every = records(toy)
    of = arm(toy.ledger, "growth", {"power": 1.0})
    evidence = Evidence(toy.ledger, every)
    evidence.of(of)[0].rows[1]["cost"] = float("nan")
    xs, means, ends = mean_curve(evidence, of, "cost")
    assert np.isnan(means).tolist() == [x == xs[1] for x in xs]
    assert np.isnan(ends[1]).all()


def test_a_page_says_why_its_figures_are_missing(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("1 of 10 values are not <finite>.")

    monkeypatch.setattr(Project, "function", lambda *_: broken)
    assert "1 of 10 values are not &lt;finite&gt;." in Report("toy", toy.project).figures()


def test_pages_of_papers_and_reviews_that_are_gone_are_removed(built: Path, toy) -> None:
    (built / "weekly").mkdir(exist_ok=True)
    gone = [built / "old.html", built / "badges" / "old.svg", built / "weekly" / "2020-W01.html"]
    for path in gone:
        path.write_text("x")
    write_site(toy.project)
    assert not any(path.exists() for path in gone)
    assert (built / "index.html").exists()
    assert (built / "badges" / "toy.svg").exists()


def test_two_references_of_one_arm_have_a_name_each(toy) -> None:
    """Else two dashed curves of one colour contradict each other, and nobody can tell which is which."""
    one = (
        GENERALISATION.removesuffix("  - id: P1\n")
        .replace("relative_to: training_sizes", "relative_to: same_size\n    same_size: {power: 1.0}")
        .replace("    survives: [{power: 1.5}]\n", "")
    )
    other = one.replace("G1", "G2").replace("same_size: {power: 1.0}", "same_size: {power: 1.5}")
    toy.edit("  - id: P1\n", f"{one}{other}  - id: P1\n")
    toy.run("full", "growth")
    (panel,) = _panels(toy.ledger, Evidence(toy.ledger, records(toy)))
    assert [(c.name, c.same_size) for c in panel.curves] == [
        ("the model itself", False),
        ("the model itself", True),
        ("trained at each size, power 1.5", True),
    ]


def test_a_check_of_ours_asks_and_does_not_claim(toy) -> None:
    toy.edit("    anchor: {place: page 1, evidence: paper}", "    anchor: {place: page 1, evidence: ours}")
    toy.run("full")
    write_site(toy.project)
    text = Page(toy.project.site / "toy" / "V1.html").text
    assert "asked for: " in text
    assert "claimed: " not in text


def test_an_arm_has_one_colour_in_all_panels_and_none_twice_in_one() -> None:
    panels = [["own", "a"], ["own", "b", "c"], ["own", "a", "c", "d"]]
    places = _places(panels)
    assert places["own"] == 0
    assert all(len({places[name] for name in panel}) == len(panel) for panel in panels)
    assert max(places.values()) == 3
