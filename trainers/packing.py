"""Attention over rows that lie in one sequence, each of which sees itself alone.

Everything but attention takes tokens one by one, so a packed sequence wastes nothing on padding there. In attention
the rows are laid side by side by their explicit places, attended to causally, and put back: nothing is inferred from
position ids, and no mask of P x P is made. What is beyond a row's end is seen by no token of it.
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
    R, L = rows.apart_R_L.shape
    index = rows.apart_R_L.flatten()

    def apart(x):
        return x[0].transpose(0, 1).index_select(0, index).unflatten(0, (R, L)).transpose(1, 2)

    near = None
    if sliding_window is not None and sliding_window < L:
        distance = torch.arange(L, device=query.device)[:, None] - torch.arange(L, device=query.device)
        near = (distance >= 0) & (distance < sliding_window)
    out = torch.nn.functional.scaled_dot_product_attention(
        apart(query),
        apart(key),
        apart(value),
        attn_mask=near,
        is_causal=near is None,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return out.transpose(1, 2).flatten(0, 1).index_select(0, rows.together_P)[None], None
