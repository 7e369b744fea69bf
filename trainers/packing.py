"""Attention over rows packed into one sequence. Each row attends only to itself.

All layers but attention work token by token, so a packed sequence needs no padding there. Attention gathers rows of
similar length into blocks by explicit indices, attends causally, and scatters the results back. It does not depend on
position ids, and needs no mask of P x P. Causality hides the padding at the end of a row.
"""

import torch
from transformers import AttentionInterface

from trainers.batches import BlockLayout

NAME = "offmodel_packed"


def register() -> str:
    """Register the attention with transformers; returns its name."""
    AttentionInterface.register(NAME, attend)
    return NAME


def attend(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    rows: BlockLayout | None = None,
    **_,
):
    """Causal attention as transformers calls it: (1, heads, P, d) to (1, P, heads, d)."""
    assert rows is not None
    assert query.shape[0] == 1
    blocks = zip(_gather(query, rows), _gather(key, rows), _gather(value, rows), strict=True)
    done = [_attend_block(q, k, v, sliding_window, dropout, scaling) for q, k, v in blocks]
    return torch.cat(done).index_select(0, rows.scatter_P)[None], None


def _gather(x, rows: BlockLayout) -> list:
    """(1, heads, P, d) to (R, heads, L, d) for each block."""
    gathered = x[0].transpose(0, 1).index_select(0, rows.gather_N)
    parts = gathered.split([R * L for R, L in rows.blocks])
    return [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, rows.blocks, strict=True)]


def _attend_block(query, key, value, window: int | None, dropout: float, scale: float | None):
    """Causal attention within the rows of a block: (R, heads, L, d) to (R x L, heads, d)."""
    L, near = query.shape[2], None
    if window is not None and window < L:
        distance = torch.arange(L, device=query.device)[:, None] - torch.arange(L, device=query.device)
        near = (distance >= 0) & (distance < window)
    out = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=near,
        is_causal=near is None,
        dropout_p=dropout,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return out.transpose(1, 2).flatten(0, 1)
