"""Sohl-Dickstein et al., "Deep unsupervised learning using nonequilibrium thermodynamics", and what followed."""
