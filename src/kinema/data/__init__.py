"""Films to clips to latents: what training reads."""
