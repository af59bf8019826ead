# The science: run -> judge -> report, for every folder of papers/. Rules only; the work is in `repro`.
# The data is DVC's and is fetched before: `repro data fetch --needed`. What is missing blocks only what needs it.
#
#   snakemake --cores all                      the quick tier of every paper
#   snakemake --cores all --config tier=full   the papers' own protocols
import hashlib
from pathlib import Path

import repro
from repro.claims import TIERS
from repro.data.fetch import verify
from repro.data.pointers import get_pointer
from repro.errors import DataUnavailable
from repro.plan import jobs
from repro.project import find_project
from repro.provenance import code_hash

PROJECT = find_project()
TIER = config.get("tier", "quick")
if TIER not in TIERS:
    raise WorkflowError(f"tier={TIER}: there are the tiers {', '.join(TIERS)}")
PAPERS = PROJECT.paper_ids()
# What only blocked claims need is not run.
EXPERIMENTS = {
    (paper, job.experiment): PROJECT.ledger(paper).experiments[job.experiment]
    for paper in PAPERS
    for job in jobs(PROJECT.ledger(paper), TIER)
}
# What judges and draws: other code there makes verdicts and pages anew, though no run.
HARNESS = hashlib.sha256(
    b"".join(
        path.read_bytes()
        for path in sorted(Path(repro.__file__).parent.rglob("*"))
        if path.suffix in (".py", ".html", ".css", ".js")
    )
).hexdigest()




def md5_here(name):
    """The md5 of a set that is here as stated; None else, also where its pointer is missing."""
    try:
        pointer = get_pointer(name, PROJECT.root)
    except DataUnavailable:
        return None
    return pointer.md5 if verify(pointer).ok else None


wildcard_constraints:
    paper="|".join(PAPERS),
    experiment="|".join(name for _, name in EXPERIMENTS),
    tier="|".join(TIERS),


localrules:
    all,
    judge,


rule all:
    input:
        expand("results/local/{paper}/verdicts.json", paper=PAPERS),
        "reports/site/index.html",


rule run:
    conda:
        "environment.yaml"
    input:
        "papers/{paper}/paper.yaml",
    output:
        "results/local/{paper}/done/{experiment}-{tier}.txt",
    log:
        "results/local/log/{paper}-{experiment}-{tier}.log",
    params:
        device=config.get("device", "auto"),
        # The data that is here, by md5: when a set arrives or changes, what reads it runs again.
        data=lambda w: [
            f"{name} {md5}"
            for name in EXPERIMENTS[w.paper, w.experiment].data
            if (md5 := md5_here(name))
        ],
        # Other code behind an experiment makes its records stale, and so the rule run again.
        code=lambda w: code_hash(w.paper, EXPERIMENTS[w.paper, w.experiment].function, PROJECT.root),
    # An experiment that measures time gets the whole machine.
    threads: lambda w: workflow.cores if EXPERIMENTS[w.paper, w.experiment].alone else 1
    shell:
        "repro run {wildcards.paper} --experiment {wildcards.experiment} --tier {wildcards.tier}"
        " --device {params.device} --threads {threads} > {output} 2> {log}"


rule judge:
    conda:
        "environment.yaml"
    input:
        lambda w: expand(
            "results/local/{paper}/done/{experiment}-{tier}.txt",
            paper=w.paper,
            experiment=[name for paper, name in EXPERIMENTS if paper == w.paper],
            tier=TIER,
        ),
    output:
        "results/local/{paper}/verdicts.json",
    log:
        "results/local/log/{paper}-judge.log",
    params:
        harness=HARNESS,
    # Exit code 1 says that a claim is contradicted: a finding, not a failure of the workflow.
    shell:
        "repro judge {wildcards.paper} --records local --json > {output} 2> {log} || test $? -eq 1"


rule report:
    conda:
        "environment.yaml"
    input:
        expand("results/local/{paper}/verdicts.json", paper=PAPERS),
        expand("papers/{paper}/report.py", paper=PAPERS),
        sorted(PROJECT.papers.glob("*/figures*.py")),
        sorted(PROJECT.papers.glob("known_exceptions.yaml")),
        sorted(PROJECT.reference.glob("*.parquet")),
        sorted(PROJECT.reference.glob("*.json")),
        sorted((PROJECT.root / "reports" / "weekly").glob("*.md")),
    output:
        "reports/site/index.html",
        expand("reports/site/{paper}.html", paper=PAPERS),
    log:
        "results/local/log/report.log",
    params:
        harness=HARNESS,
    shell:
        "repro report > {log} 2>&1"
