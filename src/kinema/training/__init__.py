"""Training: configuration, the loop, the two tasks (autoencoder and transformer), the release recipe."""
