"""Dwivedi & Bresson, A Generalization of Transformer Networks to Graphs (arXiv:2012.09699)."""
