"""Formats of video datasets: each module reads one family of them into `MediaItem`s.

sidecars.py        folders of videos, images and caption files; captions.json
configs.py         musubi-tuner, diffusion-pipe, ai-toolkit and SimpleTuner configurations
tables.py          CSV, JSON and JSONL tables; FastVideo; line files
archives.py        WebDataset tar files; simulated sets; Cosmos folders
detect.py          which of them a path is
"""
