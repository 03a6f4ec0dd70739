"""Training recipes: the full recipe, and autoencoder or transformer alone."""
