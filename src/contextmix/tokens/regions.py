"""Where the tokens of a prompt with images stand: each token of an image sees a rectangle in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contextmix.errors import WrongShape

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the top left corner of the image; edges, not pixel numbers."""


Region = tuple[int, float, float, float, float]
"""The number of an image, from 0, and a `Box` in it."""


@dataclass(frozen=True)
class Regions:
    """The tokens of a prompt with images: each token of an image sees a rectangle in it, those of the text none.

    Rectangles may overlap: some models see the whole image and, closer, its tiles.

    Example:
        >>> regions = Regions(sizes=((200, 100),), boxes=(None, (0, 0, 0, 100, 100), (0, 100, 0, 200, 100)))
        >>> regions.box(2), regions.image(2), regions.box(0)
        ((100, 0, 200, 100), 0, None)
    """

    sizes: tuple[tuple[int, int], ...]
    """Width and height of each image, in pixels, in the order of the prompt."""
    boxes: tuple[Region | None, ...]
    """Of each token the number of its image, and the pixels that it sees of it; None where it sees none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(map(tuple, self.sizes)))
        object.__setattr__(self, "boxes", tuple(None if box is None else tuple(box) for box in self.boxes))
        for box in self.boxes:
            fits = box is None or (
                0 <= box[0] < len(self.sizes)
                and 0 <= box[1] < box[3] <= self.sizes[box[0]][0]
                and 0 <= box[2] < box[4] <= self.sizes[box[0]][1]
            )
            if not fits:
                raise WrongShape(
                    f"The region {box} is no rectangle in one of {len(self.sizes)} images of {self.sizes} pixels. A "
                    "map would be drawn on the wrong part of an image."
                )

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        placed, sizes = sum(box is not None for box in self.boxes), ", ".join(f"{w} × {h}" for w, h in self.sizes)
        return f"<Regions: {placed} of {len(self)} tokens in {len(self.sizes)} images of {sizes} pixels>"

    def box(self, token: int) -> Box | None:
        """The pixels of one token in its image; None if it sees none."""
        found = self.boxes[token]
        return None if found is None else found[1:]

    def image(self, token: int) -> int | None:
        """The number of the image that one token sees; None if it sees none."""
        found = self.boxes[token]
        return None if found is None else found[0]

    def of_image(self, number: int) -> Regions:
        """The same tokens with the places of one image alone."""
        boxes = (None if box is None or box[0] != number else (0, *box[1:]) for box in self.boxes)
        return Regions((self.sizes[number],), tuple(boxes))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        boxes = [None if box is None else list(box) for box in self.boxes]
        return {"kind": "regions", "sizes": [list(size) for size in self.sizes], "boxes": boxes}
