"""The contrast of two views that TS-TCC and TS2Vec share."""

import torch
from torch.nn import functional as F


def contrast_views(
    first: torch.Tensor, second: torch.Tensor, valid: torch.Tensor | None = None, temperature: float = 1.0
) -> torch.Tensor:
    """
    Computes how badly each item in one view tells its like in the other view from all other items of its group, in
    both views: NT-Xent, by dot products.

    Args:
        first, second: the views, of shape `(groups, items, width)`.
        valid: bool of shape `(groups, items)`, False for what is no item; by default all are.
        temperature: divides the dot products.

    Returns:
        the cross-entropy, a mean over the valid items of both views.
    """
    items = torch.cat([first, second], 1)
    num_items = first.shape[1]
    if valid is None:
        valid = items.new_ones(first.shape[:2], dtype=torch.bool)
    valid = torch.cat([valid, valid], 1)
    itself = torch.eye(2 * num_items, dtype=torch.bool, device=items.device)
    logits = (items @ items.transpose(1, 2) / temperature).masked_fill(itself | ~valid[:, None], -torch.inf)
    likes = torch.arange(2 * num_items, device=items.device).roll(num_items).expand(len(items), -1)
    return F.cross_entropy(logits[valid], likes[valid])
