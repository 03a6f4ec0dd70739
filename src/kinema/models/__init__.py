"""Networks in plain PyTorch, and their weights on disk.

    transformer/            the diffusion transformer (`dit.py`) and its config
    vae/                    the causal video autoencoder (`autoencoder.py`) and its config
    text_encoders/          MiniLM for our own models, UMT5 for Wan
    clip_image_encoder.py   the image encoder of Wan 2.1 image-to-video
    formats/                model folders: opening by name, reading and writing
    sampling_defaults.py    the settings that a checkpoint is sampled with by default
    flops.py                floating-point operations of transformer and autoencoder
    packed_weight.py        linear layers whose weights stay as their file stores them
    precision.py            bfloat16 autocast and torch.compile
    module_init.py          building modules without initial values

Every config is a frozen dataclass with presets: `dit_config.wan21_t2v_1_3b()`, `VaeConfig.wan21()`, `tiny()`.
"""
