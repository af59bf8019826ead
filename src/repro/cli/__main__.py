"""``python -m repro.cli``."""

from repro.cli import main

main()
