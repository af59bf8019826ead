"""A harness that tests published claims: ledger, plan, run, records, judge, reports."""

__version__ = "0.1.0"
