"""Networks, in plain PyTorch: autoencoder, transformer, text encoders, and their weights on disk."""
