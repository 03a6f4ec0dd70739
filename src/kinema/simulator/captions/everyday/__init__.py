"""Captions in everyday English, with many sentence patterns and many words for each meaning.

    caption = realize_caption(annotations, random.Random(0))
    caption.text          # 'a tiny scarlet sphere trundles leftwards, and the camera pulls back'
    caption.statements    # what the text states; `tools.caption_audit.everyday` checks it

`captions.generate_captions` writes one caption in each of ten styles. This package samples a situation of
the clip (`situations`), a sentence pattern (`patterns`) and a word for each sense (`senses`), so it can write
many captions of one clip. Patterns and words are split into those for training and those held out (`split`).
`meaning` gives the meaning of a caption as data, and `evaluation_list` a fixed list of prompts with theirs.
"""

from kinema.simulator.captions.everyday.realization import (
    RealizedCaption,
    generate_everyday_captions,
    realize_caption,
)
from kinema.simulator.captions.everyday.statements import Statement

__all__ = ["RealizedCaption", "Statement", "generate_everyday_captions", "realize_caption"]
