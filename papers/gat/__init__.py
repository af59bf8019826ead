"""Graph attention networks: GAT and GATv2."""
