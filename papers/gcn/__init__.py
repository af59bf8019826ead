"""Kipf & Welling, Semi-Supervised Classification with Graph Convolutional Networks (arXiv:1609.02907)."""
