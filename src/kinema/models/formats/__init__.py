"""Model folders on disk.

loader.py           `open_model`: from a name to a checkpoint; the protocol `ModelCheckpoint`
native.py           our own folder layout, read and written
wan.py              Wan 2.1 and 2.2 in the diffusers folder layout, read and written
wan_config.py       diffusers' settings to ours and back
wan_encoders.py     UMT5 and CLIP from their folders
wan_keys.py         tensor names of the original Wan repositories to those of diffusers
safetensors_io.py   tensors in and out of safetensors files
serialization.py    dataclasses to JSON and back
fingerprint.py      SHA-256 of a model folder
"""
