"""Multi-head attention by several back ends, and the key ranges of block-causal masks.

Back ends of other packages (FlashAttention, SageAttention, xformers) are imported when first used. They take
no bias, so attention with one (padded text, joint text) always runs in torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from kinema.errors import UserError, did_you_mean

AttentionBackend = Literal[
    "sdpa", "cudnn", "flash", "efficient", "math", "flash-attn-2", "flash-attn-3", "sage", "xformers"
]
"""`sdpa`: torch chooses among its own kernels, `cudnn` to `math`, for each call."""


@dataclass(frozen=True, kw_only=True)
class _Package:
    """The module of a back end, what to install, and the lowest compute capability of a GPU."""

    module: str
    install: str
    capability: tuple[int, int] = (8, 0)


_PACKAGES: dict[str, _Package] = {
    "flash-attn-2": _Package(module="flash_attn", install="pip install flash-attn"),
    "flash-attn-3": _Package(
        module="flash_attn_interface",
        install="FlashAttention 3: the folder hopper of the flash-attention repository",
        capability=(9, 0),
    ),
    "sage": _Package(module="sageattention", install="pip install sageattention"),
    "xformers": _Package(module="xformers", install="pip install xformers", capability=(7, 0)),
}
_KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def missing_backend_reason(backend: AttentionBackend, device: torch.device) -> str | None:
    """Why a back end can't be used on a device, with what to do; None where it can be used."""
    if backend in ("sdpa", "math"):
        return None
    if backend in _KERNELS:
        if device.type == "cuda" or backend == "flash":
            return None
        return f"{backend} runs on an NVIDIA GPU, not on {device}; use sdpa"
    package = _PACKAGES[backend]
    if device.type != "cuda":
        return f"{backend} runs on an NVIDIA GPU, not on {device}; use sdpa"
    if torch.cuda.get_device_capability(device) < package.capability:
        needed = ".".join(map(str, package.capability))
        return f"{backend} needs a GPU of compute capability {needed} or more; use sdpa"
    if importlib.util.find_spec(package.module) is None:
        return f"{backend} is not installed; install it: {package.install}"
    return None


def choose_attention_backend(name: str, device: torch.device) -> tuple[AttentionBackend, str]:
    """The back end of a name, and why it was chosen.

    Args:
        name: of a back end; `auto` is FlashAttention 3 where it is installed for a GPU that has it, else
            torch. SageAttention is never chosen by itself, because it rounds to 8 bits.
        device: where the model runs.

    Raises:
        UserError: there is no such back end, or it can't be used here.
    """
    if name == "auto":
        if missing_backend_reason("flash-attn-3", device) is None:
            return "flash-attn-3", "it is installed, and the fastest exact one on this GPU"
        return "sdpa", "torch chooses the fastest of its kernels for each call"
    for backend in get_args(AttentionBackend):
        if name == backend:
            reason = missing_backend_reason(backend, device)
            if reason is not None:
                raise UserError(f"attention {reason}")
            return backend, "it was requested"
    names = ("auto", *get_args(AttentionBackend))
    raise UserError(
        f"there is no attention {name!r}{did_you_mean(name, names)}; give one of {', '.join(names)}"
    )


@runtime_checkable
class ShardedTokens(Protocol):
    """The tokens of one video that this process has, where several processes share the sequence.

    Every process has a part of each latent frame. Self-attention sees all tokens of a part of the heads, or
    all heads of a part of the tokens, or both.
    """

    @property
    def tokens(self) -> int:
        """Tokens of a latent frame in this process."""
        ...

    @property
    def attention_tokens(self) -> int:
        """Tokens of a latent frame that this process has in self-attention."""
        ...

    @property
    def has_all_tokens(self) -> bool:
        """Whether self-attention has all tokens here, so that key ranges apply."""
        ...

    def shard(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n2 d"]:
        """This process's tokens of a sequence that all processes have."""
        ...

    def gather(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n2 d"]:
        """The whole sequence from the parts of all processes."""
        ...

    def attention_rows(self, table: Tensor) -> Tensor:
        """The rows of a table of all tokens, with any number of latent frames, that attention has here."""
        ...

    def to_heads(self, x: Float[Tensor, "m b n heads k"]) -> Float[Tensor, "m b n2 heads2 k"]:
        """From some tokens of all heads to the attention's tokens of some heads."""
        ...

    def to_tokens(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n2 d2"]:
        """The reverse of `to_heads`, with the heads concatenated."""
        ...

    def own_heads(self, x: Float[Tensor, "b heads n k"]) -> Float[Tensor, "b heads2 n k"]:
        """This process's heads of keys or values that all processes have."""
        ...

    def attend(
        self,
        query: Float[Tensor, "b heads q k"],
        key: Float[Tensor, "b heads n k"],
        value: Float[Tensor, "b heads n k"],
        prefix: tuple[Tensor, Tensor] | None,
        *,
        bias: Tensor | None,
        key_ranges: tuple[tuple[int, int, int], ...],
        backend: AttentionBackend,
    ) -> Float[Tensor, "b q heads_k"]:
        """Attention to the keys of all processes, and to a prefix that each of them has.

        `bias` and `key_ranges` are those of `multi_head_attention`; `bias` covers the prefix and the keys of
        this process, and is zero for the latter.
        """
        ...


@runtime_checkable
class ShardTokens(Protocol):
    """Divides the tokens of a video among processes."""

    def __call__(self, frames: int, tokens: int) -> ShardedTokens:
        """The division of `frames` latent frames of `tokens` tokens each."""
        ...


def multi_head_attention(
    query: Float[Tensor, "b heads q k"],
    key: Float[Tensor, "b heads n k"],
    value: Float[Tensor, "b heads n k"],
    *,
    bias: Float[Tensor, "#b #heads #q n"] | None = None,
    key_ranges: tuple[tuple[int, int, int], ...] = (),
    backend: AttentionBackend = "sdpa",
) -> Float[Tensor, "b q heads_k"]:
    """softmax(q·k / √k + bias)·v, with the heads concatenated.

    Args:
        query: queries.
        key: keys.
        value: values.
        bias: added to the logits; cast to the type of the query.
        key_ranges: triples (start, stop, keys): queries from start to stop attend to the first `keys` keys
            only. A block-causal mask is a few such ranges, which need no mask in memory and compute no
            masked products. Empty: every query attends to every key.
        backend: what computes it; with a bias always torch.
    """
    if bias is not None:
        bias = bias.to(query.dtype)
    if not key_ranges:
        return _attend(query, key, value, bias, backend).transpose(1, 2).flatten(2)
    parts = [
        _attend(
            query[:, :, start:stop],
            key[:, :, :keys],
            value[:, :, :keys],
            None if bias is None else (bias if bias.shape[2] == 1 else bias[:, :, start:stop])[..., :keys],
            backend,
        )
        for start, stop, keys in key_ranges
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).flatten(2)


_MAX_UNFUSED_LOGITS = 2**26
"""With more logits, the fused kernel is used."""


def _attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, backend: AttentionBackend
) -> Tensor:
    if backend == "sdpa" or (bias is not None and backend in _PACKAGES):
        return _sdpa(query, key, value, bias)
    if backend in _KERNELS:
        # Not every kernel takes every call: flash takes no bias, and cuDNN no float32.
        kernels = [_KERNELS[backend]]
        if backend != "math":
            kernels += [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
        with sdpa_kernel(kernels, set_priority=True):
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return _attend_package(query, key, value, backend)


def _attend_package(query: Tensor, key: Tensor, value: Tensor, backend: AttentionBackend) -> Tensor:
    """The back ends of other packages. All but SageAttention have tokens before heads, and no float32."""
    dtype = query.dtype
    if dtype is torch.float32:
        query, key, value = query.bfloat16(), key.bfloat16(), value.bfloat16()
    module: Any = importlib.import_module(_PACKAGES[backend].module)
    if backend == "sage":
        return module.sageattn(query, key, value, tensor_layout="HND", is_causal=False).to(dtype)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    if backend == "xformers":
        out = importlib.import_module("xformers.ops").memory_efficient_attention(q, k, v)
    else:
        out = module.flash_attn_func(q, k, v)
        # FlashAttention 3 returned the logarithms of the sums as well in early versions.
        out = out[0] if isinstance(out, tuple) else out
    return out.transpose(1, 2).to(dtype)


def attention_with_lse(
    query: Float[Tensor, "b heads q k"],
    key: Float[Tensor, "b heads n k"],
    value: Float[Tensor, "b heads n k"],
    bias: Float[Tensor, "#b #heads #q n"] | None = None,
) -> tuple[Float[Tensor, "b heads q k"], Float[Tensor, "b heads q"]]:
    """Attention, and the float32 logarithm of the sum of exponentials that each query was divided by.

    With it, attention to several sets of keys can be merged (see `merge_attention`). A bias is for few keys:
    the logits are stored.
    """
    if bias is None and query.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[:2]
        return out, lse.float()
    if bias is None and query.device.type == "cuda":
        if query.dtype is torch.float32:
            out, lse = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True)[
                :2
            ]
        else:
            out, lse = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[:2]
        return out, lse[:, :, : query.shape[2]].float()
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    logits = (logits if bias is None else logits + bias).float()
    lse = logits.logsumexp(-1)
    return (logits - lse[..., None]).exp().to(value.dtype) @ value, lse


def merge_attention(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Float[Tensor, "b heads q k"], Float[Tensor, "b heads q"]]:
    """Attention to two sets of keys from that to each of them, in float32 (arXiv 2310.01889)."""
    lse = torch.logaddexp(first[1], second[1])
    out = first[0].float() * (first[1] - lse).exp()[..., None]
    return out.addcmul_(second[0].float(), (second[1] - lse).exp()[..., None]), lse


def _sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """torch's fused attention; for training in bfloat16 on a CPU, unfused products.

    There the fused kernel's gradient took a third of a training step of 112 tokens, the products a tenth.
    """
    logits = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    unfused = query.device.type == "cpu" and query.dtype is torch.bfloat16 and torch.is_grad_enabled()
    if not unfused or logits > _MAX_UNFUSED_LOGITS:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores.float(), dim=-1).to(value.dtype) @ value


def block_causal_ranges(
    block_frames: tuple[int, ...], tokens_per_frame: int, num_prefix_keys: int = 0
) -> tuple[tuple[int, int, int], ...]:
    """Key ranges of a block-causal mask: each block attends to itself, earlier blocks and the prefix keys.

    Args:
        block_frames: latent frames of each block, in order.
        tokens_per_frame: tokens of a latent frame.
        num_prefix_keys: keys before the first frame, which all blocks attend to (text, cached frames).
    """
    ranges, start = [], 0
    for frames in block_frames:
        stop = start + frames * tokens_per_frame
        ranges.append((start, stop, num_prefix_keys + stop))
        start = stop
    return tuple(ranges)
