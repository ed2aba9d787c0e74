"""Which tokens of an image tower each place of a prompt is made of: those that see the same patches of pixels.

A projector or a pooling between the tower and the text works on tokens side by side. So a place is made of the tokens
whose patches make up its rectangle, and what it draws from the tower goes to them in equal parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contextmix.errors import UnsupportedModel
from contextmix.tracing.inputs.tower import Bools

Shares = NDArray[np.float64]


def bridge(places: Bools, tokens: Bools) -> Shares:
    """Each place as shares of the tokens of the tower.

    Args:
        places: (place, unit): the patches of pixels that each token of the prompt sees.
        tokens: (token, unit): the same of each token of the tower.

    Returns:
        (place, token): rows sum to one; rows of tokens that see no image are zero.

    Raises:
        UnsupportedModel: If tokens or places share patches, or a place is made of parts of tokens.

    Example:
        >>> import numpy as np
        >>> patches = np.eye(4, dtype=bool)
        >>> pooled = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
        >>> bridge(pooled, patches)
        array([[0.5, 0.5, 0. , 0. ],
               [0. , 0. , 0.5, 0.5]])
    """
    overlapping = max(int(seen.sum(0).max()) for seen in (places, tokens)) > 1
    made = (places.astype(np.int64) @ tokens.T.astype(np.int64)) > 0
    seen = made.astype(np.int64) @ tokens.astype(np.int64) > 0
    if overlapping or not places.any() or not np.array_equal(seen, places):
        raise UnsupportedModel(
            "What stands between the image tower and the text mixes patches in another way than side by side (learned "
            "queries, a resampler, overlapping patches), so image places cannot be traced to tokens of the tower. "
            "Leave out tower='through'; tower='alone' shows the tower's own maps."
        )
    shares: Shares = made / np.maximum(made.sum(-1, keepdims=True), 1)
    return shares
