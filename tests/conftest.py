"""The main fixture: a tiny paper in a folder of its own, which needs nothing but numpy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from repro.claims import Setting, Tier
from repro.evidence import Evidence, gather
from repro.freshness import identity
from repro.judge import Verdict, judge
from repro.ledger import Ledger
from repro.plan import Job, jobs, resolve
from repro.project import Project
from repro.records import Record, write_record
from repro.run import Ran, run

LEDGER = """\
paper:
  id: toy
  title: A toy
  authors: [A. Nobody]
  year: 2020
  venue: Nowhere
  bibtex: "@misc{toy}"

quantities:
  accuracy:
    meaning: share of right answers
    unit: "%"
    better: higher
  cost:
    meaning: time it takes
    unit: s
    better: lower
  count:
    meaning: things counted
    unit: things
  excess:
    meaning: how much too much
    unit: things
  answer:
    meaning: what the data says
    unit: "1"

experiments:
  train:
    meaning: draw an accuracy around a level
    function: experiments.train
    quantities: [accuracy]
    setting:
      level: 80.0
      steps: 100
      labels: "true"
      variant: a
    choices:
      labels: ["true", shuffled]
      variant: [a, b, c]
    tiers:
      smoke: {seeds: 2, set: {steps: 3}}
      quick: {seeds: 5}
      full: {seeds: 10}
  growth:
    meaning: cost against size
    function: experiments.growth
    index: size
    quantities: [cost]
    setting: {power: 1.0, largest: 64}
    tiers:
      smoke: {seeds: 2, set: {largest: 4}}
      quick: {seeds: 3, set: {largest: 16}, supports: [scaling]}
      full: {seeds: 4}
  counting:
    meaning: count things
    function: audits.counting
    quantities: [count, excess]
    tiers: {smoke: {seeds: 1}, quick: {seeds: 2}, full: {seeds: 2}}
  reading:
    meaning: read the corpus
    function: experiments.reading
    quantities: [answer]
    data: [corpus]
    tiers: {smoke: {seeds: 1}, quick: {seeds: 2}, full: {seeds: 2}}

controls:
  shuffled:
    meaning: the labels are shuffled
    set: {labels: shuffled}

tables:
  - id: T1
    statement: Variant {row} at {column} is {value} % right.
    anchor: {place: Table 1, page: 1, evidence: paper}
    measure: {experiment: train, quantity: accuracy}
    rows:
      a: {variant: a}
      b: {variant: b}
    columns:
      low: {level: 70.0}
      high: {level: 90.0}
    published:
      a: {low: 70.0, high: 90.0}
      b: {low: 72.0, high: 92.0}
    n: 10
    margins:
      low: {value: 3.0, reason: it is a toy}
      high: {value: 3.0, reason: it is a toy}

claims:
  - id: V1
    kind: value
    statement: It is 80 % right.
    anchor: {place: page 1, evidence: paper}
    measure: {experiment: train, quantity: accuracy}
    published: {value: 80.0}
    margin: {value: 3.0, reason: it is a toy}
    controls: [shuffled]
  - id: O1
    kind: ordering
    statement: Variant b is better than a.
    anchor: {place: page 2, evidence: paper}
    measure: {experiment: train, quantity: accuracy}
    greater: {variant: b}
    than: [{variant: a}]
    across: {level: [70.0, 90.0]}
  - id: H1
    kind: threshold
    statement: It is above 70 %.
    anchor: {place: page 2, evidence: paper}
    measure: {experiment: train, quantity: accuracy}
    bound: 70.0
    direction: above
  - id: S1
    kind: scaling
    statement: The cost grows linearly.
    anchor: {place: Figure 1, evidence: paper}
    measure: {experiment: growth, quantity: cost}
    slope: 1.0
    margin: {value: 0.2, reason: it is a toy}
    smallest: 2
  - id: C1
    kind: curve
    statement: The cost is lowest at one.
    anchor: {place: Figure 1, evidence: digitised}
    measure: {experiment: growth, quantity: cost}
    peak: [1]
  - id: P1
    kind: property
    statement: There is never an excess.
    anchor: {place: page 3, evidence: ours}
    measure: {experiment: counting, quantity: excess}
    at_most: 0
  - id: A1
    kind: audit
    statement: There are 12 things.
    anchor: {place: page 3, evidence: paper}
    measure: {experiment: counting, quantity: count}
    published: {value: 12}
  - id: D1
    kind: threshold
    statement: The data says more than zero.
    anchor: {place: page 4, evidence: paper}
    measure: {experiment: reading, quantity: answer}
    bound: 0.0
    direction: above

deviations:
  variant:
    paper: does not say
    code: variant c
    ours: variant a
    anchor: {place: released code, evidence: code}
    measure: {experiment: train, quantity: accuracy}
    switch: variant
    alternatives: [c]
    moves: [V1, T1]
    tiers: [full]
"""

EXPERIMENTS = '''\
"""What is run."""

import os
import time

import numpy as np

from papers.toy.model import LEAD


def train(setting, seeds, context):
    """Draw an accuracy."""
    for seed in seeds:
        noise = np.random.default_rng([seed, setting["steps"], ord(setting["variant"])]).normal()
        level = 50.0 if setting["labels"] == "shuffled" else setting["level"] + LEAD[setting["variant"]]
        time.sleep(float(os.environ.get("TOY_SLEEP", "0")))
        yield seed, {"accuracy": level + noise}


def growth(setting, seeds, context):
    """Cost against size."""
    sizes = [s for s in (1, 2, 4, 8, 16, 32, 64) if s <= setting["largest"]]
    for seed in seeds:
        noise = np.exp(0.05 * np.random.default_rng(seed).normal(size=len(sizes)))
        yield seed, [{"size": s, "cost": s ** setting["power"] * e} for s, e in zip(sizes, noise, strict=True)]


def reading(setting, seeds, context):
    """Read the data."""
    text = (context.root / "data" / "corpus" / "text").read_text()
    for seed in seeds:
        yield seed, {"answer": float(text) + 0.01 * seed}
'''

MODEL = '''\
"""The model."""

LEAD = {"a": 0.0, "b": 2.0, "c": 2.5}
'''

AUDITS = '''\
"""Without running."""


def counting(setting, seeds, context):
    """Count things."""
    for seed in seeds:
        yield seed, {"count": 12, "excess": 0}
'''


class Quiet:
    """A progress that shows nothing and keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.planned = 0

    def start(self, jobs: Sequence[tuple[Job, int]]) -> None:
        self.planned = sum(seeds for _, seeds in jobs)

    def job(self, job: Job) -> None:
        pass

    def done(self, seeds: float) -> None:
        pass

    def say(self, message: str) -> None:
        self.said.append(message)


def forget_paper_modules() -> None:
    """So that the next toy's code is imported, not the last one's."""
    for name in [name for name in sys.modules if name.startswith("papers.toy")]:
        del sys.modules[name]


@dataclass
class Toy:
    """A project with the paper `toy`, and what the tests do with it."""

    root: Path
    progress: Quiet = field(default_factory=Quiet)

    @classmethod
    def at(cls, root: Path) -> Toy:
        """Write the paper into a folder."""
        toy = cls(root)
        toy.write("paper.yaml", LEDGER)
        toy.write("experiments.py", EXPERIMENTS)
        toy.write("model.py", MODEL)
        toy.write("audits.py", AUDITS)
        toy.write("__init__.py", '"""A toy."""\n')
        return toy

    @property
    def project(self) -> Project:
        return Project(self.root)

    @property
    def folder(self) -> Path:
        return self.project.local

    @property
    def file(self) -> Path:
        return self.root / "papers" / "toy" / "paper.yaml"

    @property
    def ledger(self) -> Ledger:
        return self.project.ledger("toy")

    def path(self, module: str) -> Path:
        return self.root / "papers" / "toy" / f"{module}.py"

    def write(self, name: str, text: str) -> Path:
        path = self.root / "papers" / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def edit(self, old: str, new: str, name: str = "paper.yaml") -> str:
        """Replace the one occurrence of a text in a file of the paper; return the new text."""
        text = (self.root / "papers" / "toy" / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{text.count(old)} x {old!r}"
        self.write(name, text.replace(old, new))
        forget_paper_modules()
        return text.replace(old, new)

    def give_data(self, content: str = "1.5") -> None:
        """Bring the data set `corpus` and its pointer."""
        import hashlib

        import yaml

        data = content.encode()
        md5 = hashlib.md5(data).hexdigest()
        place = self.root / "data" / "corpus" / "text"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        from repro.data.pointers import listing_md5

        pointer = {
            "outs": [{"md5": listing_md5([("text", md5)]), "hash": "md5", "path": "corpus"}],
            "meta": {"files": [{"path": "text", "md5": md5}], "sources": [], "licence": "none"},
        }
        (self.root / "data" / "corpus.dvc").write_text(yaml.safe_dump(pointer))

    def run(
        self,
        tier: Tier = "quick",
        only: str | None = None,
        seeds: Sequence[int] | None = None,
        folder: Path | None = None,
    ) -> Ran:
        from dataclasses import replace

        forget_paper_modules()
        planned = jobs(self.ledger, tier, only)
        if seeds is not None:
            planned = [replace(job, seeds=tuple(seeds)) for job in planned]
        return run(self.project, self.ledger, planned, folder or self.folder, progress=self.progress)

    def record(
        self,
        experiment: str,
        seed: int,
        rows: Mapping[str, float] | list[dict[str, float]],
        setting: Setting | None = None,
        **changed: Any,
    ) -> Record:
        """Return a fresh record."""
        ledger = self.ledger
        if not ledger.experiments[experiment].data:
            code, data = identity(self.project, ledger, experiment)
        else:
            code, data = "0" * 16, {}
        values: dict[str, Any] = {
            "paper": "toy",
            "experiment": experiment,
            "setting": resolve(ledger.experiments[experiment], setting or {}),
            "seed": seed,
            "rows": rows if isinstance(rows, list) else [dict(rows)],
            "code": code,
            "data": data,
            "environment": {"python": "3.11"},
            "seconds": 0.5,
            "created": "2026-01-01T00:00:00+00:00",
        }
        return Record(**{**values, **changed})

    def write_records(self, records: Sequence[Record], folder: Path | None = None) -> None:
        for record in records:
            write_record(folder or self.folder, record)

    def verdicts(self, folder: Path | None = None) -> dict[str, Verdict]:
        return {v.claim: v for v in judge(gather(self.project, self.ledger, folder or self.folder))}

    def judge(self, records: Sequence[Record], **parts: Any) -> dict[str, Verdict]:
        """Judge records that are on no disk."""
        return {v.claim: v for v in judge(Evidence(self.ledger, list(records), **parts))}


@pytest.fixture
def make_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Toy]]:
    """Return a function that makes a project in a folder of its own."""
    path_before = list(sys.path)
    monkeypatch.delenv("REPRO_ROOT", raising=False)

    def make(name: str = "project") -> Toy:
        return Toy.at(tmp_path / name)

    yield make
    sys.path[:] = path_before
    forget_paper_modules()


@pytest.fixture
def toy(make_toy: Callable[..., Toy]) -> Toy:
    """A project with one paper that has a claim of each kind."""
    return make_toy()


@dataclass(frozen=True)
class Answer:
    """What the command line said."""

    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


@pytest.fixture
def ask(toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the command line inside the toy's folder."""
    from repro.cli import main

    monkeypatch.chdir(toy.root)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def asked(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        shown = capsys.readouterr()
        code = ended.value.code
        return Answer(0 if code is None else int(code), shown.out, shown.err)

    return asked
