"""Pages for people: tables, figures and words, all generated from ledger, records and verdicts."""
