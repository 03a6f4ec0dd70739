"""Video datasets, crops and batches, cached latents and text embeddings: what training reads."""
