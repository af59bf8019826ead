"""Simulators in float64, vectorised over scenes: any number of leading dimensions ``*`` is a batch of scenes."""
