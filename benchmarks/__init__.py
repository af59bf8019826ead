"""Our speed and memory beside a peer's, measured in one run: see README.md."""
