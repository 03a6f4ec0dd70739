"""LoRA files: read in the forms in use, applied to a transformer, and written.

names.py      names in files, and our modules
changes.py    what a change does to one weight
decode.py     the tensors of a module as changes
reader.py     the header of a file
match.py      a file and a model
apply.py      a transformer with LoRAs that shares all unchanged weights
writer.py     files for other programs
"""
