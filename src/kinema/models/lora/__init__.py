"""LoRA files: read in the forms in use, applied to a transformer, and written.

names.py      names in files, and our modules
changes.py    what a file's tensors do to one weight
reader.py     a file, matched to a model
apply.py      a transformer with LoRAs that shares all unchanged weights
writer.py     files for other programs
"""
