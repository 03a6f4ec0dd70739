"""The diffusion transformer.

dit.py            `Dit`: embeddings, blocks, output
condition_embedder.py  sigma, text and image states at the transformer's width
dit_block.py      one block: self-attention, cross-attention, feed-forward
dit_config.py     the config and its presets
attention.py      multi-head attention, and key ranges of block-causal masks
rope.py           rotary positions
text_context.py   keys and values of the prompts
kv_cache.py       keys and values of finished latent frames
ops.py            norms, modulation and linear layers
int8.py           linear layers with 8-bit weights
torchao_linear.py  the same on a GPU, and float8, through torchao
block_offload.py  blocks that are copied to the device one ahead
"""
