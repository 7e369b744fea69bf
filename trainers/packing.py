"""Attention over rows that lie in one sequence, each of which sees itself alone.

Everything but attention takes tokens one by one, so a packed sequence wastes nothing on padding there. In attention
rows of like length are laid side by side by their explicit places, attended to causally, and put back: nothing is
inferred from position ids, and no mask of P x P is made. What is beyond a row's end is seen by no token of it.
"""

from trainers.batches import Layout

NAME = "offmodel_packed"


def register() -> str:
    """Make the attention known to transformers; returns its name."""
    from transformers import AttentionInterface

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
    rows: Layout | None = None,
    **_,
):
    """Causal attention as transformers calls it: (1, heads, P, d) to (1, P, heads, d). `rows` has the rows' places."""
    import torch

    assert rows is not None
    assert query.shape[0] == 1
    blocks = zip(_apart(query, rows), _apart(key, rows), _apart(value, rows), strict=True)
    done = [_attend_alike(q, k, v, sliding_window, dropout, scaling) for q, k, v in blocks]
    return torch.cat(done).index_select(0, rows.together_P)[None], None


def _apart(x, rows: Layout) -> list:
    """(1, heads, P, d) to the (R, heads, L, d) of each block."""
    laid = x[0].transpose(0, 1).index_select(0, rows.apart_N)
    parts = laid.split([R * L for R, L in rows.blocks])
    return [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, rows.blocks, strict=True)]


def _attend_alike(query, key, value, window: int | None, dropout: float, scale: float | None):
    """Causal attention of rows side by side: (R, heads, L, d) to (R x L, heads, d)."""
    import torch

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
