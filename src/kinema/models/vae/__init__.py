"""The causal video autoencoder.

autoencoder.py     `VideoVae`: encode and decode, whole, in chunks or as streams
vae_config.py      its config and presets
wan.py             encoder and decoder of Wan 2.1 and 2.2
patchified.py      encoder and decoder of our own models
layers.py          layers of the Wan networks, and `CausalCache`
convolution.py     causal convolutions, channels last
cpu/               the same in float32 on a CPU: direct, matrix products, Winograd
tiling.py          coding large frames in overlapping tiles
static_frames.py   a shortcut for videos that end in identical frames
"""
