"""Where does a vision Transformer look? One that is small enough to train here, in a few minutes.

Each picture holds a disc, red or green, at a random place among grey blots of the same brightness; the class is its
colour. So what a good map must show is known: the disc. Run it with a name for the picture that it draws:

    python examples/find_the_disc.py disc.png
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import contextmix as cm

SIZE, PATCH, RADIUS = 64, 8, 9
COLOURS = {"red": (230, 60, 60), "green": (60, 200, 60)}
METHODS = ("globenc", "value_zeroing_rollout", "attention_rollout")


def painted(random: np.random.Generator) -> tuple[np.ndarray, int, tuple[int, int]]:
    """A picture (height, width, 3), the number of its class, and the middle of its disc (x, y)."""
    pixels = random.normal(128, 20, (SIZE, SIZE, 3))
    y, x = np.mgrid[:SIZE, :SIZE]
    for _ in range(5):
        middle = random.integers(0, SIZE, 2)
        pixels[np.hypot(x - middle[0], y - middle[1]) < RADIUS] = random.uniform(60, 200)
    label, place = int(random.integers(2)), random.integers(RADIUS, SIZE - RADIUS, 2)
    pixels[np.hypot(x - place[0], y - place[1]) < RADIUS] = list(COLOURS.values())[label]
    return pixels.clip(0, 255).astype(np.uint8), label, (int(place[0]), int(place[1]))


def trained(processor: ViTImageProcessorPil, random: np.random.Generator, steps: int = 80) -> ViTForImageClassification:
    """A vision Transformer of three layers that tells the colour of the disc."""
    torch.manual_seed(0)
    names = dict(enumerate(COLOURS))
    config = ViTConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    model = ViTForImageClassification(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        pictures, labels, _ = zip(*(painted(random) for _ in range(64)), strict=True)
        inputs = processor(images=list(pictures), return_tensors="pt")
        outputs = model(**inputs, labels=torch.tensor(labels))
        optimiser.zero_grad()
        outputs.loss.backward()
        optimiser.step()
        if step % 20 == 19:
            right = (outputs.logits.argmax(-1) == torch.tensor(labels)).float().mean()
            print(f"step {step + 1}: loss {outputs.loss.item():.3f}, right {right:.0%}")
    return model.eval()


def share_on_disc(row: cm.TokenMap, place: tuple[int, int]) -> tuple[float, float]:
    """Of what the patches give: the share of those that the disc touches, and their share of the area."""
    places, total, found, touched = row.tokens.places, 0.0, 0.0, 0
    for token, score in enumerate(row.values.tolist()):
        box = places.box(token)
        if box is not None:
            nearest = (np.clip(place[0], box[0], box[2]) - place[0], np.clip(place[1], box[1], box[3]) - place[1])
            total += score
            found += score * (np.hypot(*nearest) < RADIUS)
            touched += np.hypot(*nearest) < RADIUS
    return found / total, touched / (places.grid[0] * places.grid[1])


def main() -> None:
    """Train, explain 50 new pictures, and draw three of them."""
    random = np.random.default_rng(0)
    processor = ViTImageProcessorPil(size={"height": SIZE, "width": SIZE})
    model = cm.load(trained(processor, random), processor)
    tests = [painted(random) for _ in range(50)]
    for method in METHODS:
        rows = [model.explain(picture, method, query="[CLS]") for picture, _, _ in tests]
        shares = np.array([share_on_disc(row, place) for row, (_, _, place) in zip(rows, tests, strict=True)])
        on_disc, area = shares.mean(axis=0)
        print(f"{method}: {on_disc:.0%} of what [CLS] draws from patches comes from the {area:.0%} with the disc")
    model.explain(tests[0][0], query="[CLS]").show()
    if len(sys.argv) > 1:
        draw([model.explain(picture, query="[CLS]").overlay(picture) for picture, _, _ in tests[:3]], tests)


def draw(overlays: list[Image.Image], tests: list[tuple[np.ndarray, int, tuple[int, int]]]) -> None:
    """Pictures above, maps below."""
    side = 3 * SIZE
    sheet = Image.new("RGB", (len(overlays) * (side + 8) - 8, 2 * side + 8), "white")
    for number, overlay in enumerate(overlays):
        for row, image in enumerate((Image.fromarray(tests[number][0]), overlay)):
            sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (number * (side + 8), row * (side + 8)))
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
