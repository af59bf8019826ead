"""Graph networks (Battaglia et al. 2018) and the experiments on system size that their claim rests on."""
