"""Which part of a picture answers a question? A vision–language model that is small enough to train here, in minutes.

Each picture holds four discs, one in each quadrant, each a little more red or a little more green than the noise around
it; the question asks for one quadrant. So what a good map must show is known: the disc that was asked for. One patch
says little of a colour, so the model has to put many together, and leaving one out matters. Run it with a name for the
picture that it draws:

    python examples/ask_for_the_disc.py asked.png
    python examples/ask_for_the_disc.py asked.png 1   # with another seed, of model and pictures
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import contextmix as cm

SIZE, GRID = 64, 4
COLOURS = {"red": (1, -1, 0), "green": (-1, 1, 0)}
QUADRANTS = ("northwest", "northeast", "southwest", "southeast")
FAINT = 5.0
"""How far the colour of a disc is from grey, of 255; its pixels are noise of 40."""
METHODS: dict[str, dict[str, Any]] = {
    "evidence, direct": {"method": "evidence", "signed": True},
    "evidence, all paths": {"method": "evidence", "reach": "all", "signed": True},
    "decompx": {"method": "decompx"},
    "gradient_inputs": {"method": "gradient_inputs"},
    "globenc": {"method": "globenc"},
    "value_zeroing_rollout": {"method": "value_zeroing_rollout"},
    "attention_rollout": {"method": "attention_rollout"},
    "random": {"method": "random"},
}
LEFT_OUT = "leaving out a region"
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} : {% for c in m.content %}{% if c.type == 'image' %}<image> {% else %}"
    "{{ c.text }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}assistant :{% endif %}"
)


def painted(random: np.random.Generator, strength: float = FAINT) -> tuple[np.ndarray, list[str]]:
    """A picture (height, width, 3) of noise with a disc in each quadrant, and the names of their colours."""
    pixels, names = random.normal(128, 40, (SIZE, SIZE, 3)), []
    y, x = np.mgrid[:SIZE, :SIZE]
    half = SIZE // 2
    for number in range(4):
        radius = random.integers(12, 15)
        middle = random.integers(radius + 1, half - radius, 2) + half * np.array([number % 2, number // 2])
        names.append(str(random.choice(list(COLOURS))))
        pixels[np.hypot(x - middle[0], y - middle[1]) < radius] += strength * np.array(COLOURS[names[-1]])
    return pixels.clip(0, 255).astype(np.uint8), names


def asked(quadrant: str) -> str:
    """The question for the disc of a quadrant."""
    return f"what colour is the disc at the {quadrant} ?"


def reader() -> LlavaProcessor:
    """A processor with a tokenizer of these few words."""
    sentences = f"user assistant : {asked(' '.join(QUADRANTS))}"
    words = dict.fromkeys(["<pad>", "<unk>", "<image>", *COLOURS, *sentences.split()])
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "extra_special_tokens": {"image_token": "<image>"}}
    return LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}),
        PreTrainedTokenizerFast(tokenizer_object=plain, **marks),
        patch_size=SIZE // GRID,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def untrained(processor: LlavaProcessor, seed: int = 0) -> LlavaForConditionalGeneration:
    """A LLaVA with an image tower of one layer and a text model of three."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    vision = {"model_type": "clip_vision_model", **sizes, "num_hidden_layers": 1, "projection_dim": 64}
    text = {"model_type": "llama", **sizes, "num_hidden_layers": 3, "vocab_size": len(processor.tokenizer)}
    text |= {"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    config = LlavaConfig(
        vision_config={**vision, "image_size": SIZE, "patch_size": SIZE // GRID},
        text_config=text,
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config)


def batch(processor: LlavaProcessor, random: np.random.Generator, strength: float) -> tuple[Any, list[str]]:
    """Pictures with questions, as the model reads them, and the answers."""
    pictures, answers, texts = [], [], []
    for _ in range(64):
        picture, names = painted(random, strength)
        number = int(random.integers(4))
        question = [{"type": "image"}, {"type": "text", "text": asked(QUADRANTS[number])}]
        texts.append(processor.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True))
        pictures.append([picture])
        answers.append(names[number])
    return processor(images=pictures, text=texts, return_tensors="pt"), answers


def trained(
    processor: LlavaProcessor, random: np.random.Generator, steps: int = 800, seed: int = 0
) -> LlavaForConditionalGeneration:
    """A model that answers."""
    model = untrained(processor, seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        # From discs that are plain to see to those that are hardly.
        inputs, answers = batch(processor, random, max(FAINT, 60 * (1 - step / steps * 1.6)))
        labels = torch.tensor(processor.tokenizer.convert_tokens_to_ids(answers))
        scores = model(**inputs, logits_to_keep=1).logits[:, -1]
        loss = torch.nn.functional.cross_entropy(scores, labels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}, right {(scores.argmax(-1) == labels).float().mean():.0%}")
    return model.eval()


def regions(row: cm.TokenMap) -> np.ndarray:
    """What each region of the picture gives, (row, column), from the image places that lie in it."""
    found = np.zeros((GRID, GRID))
    for token, value in enumerate(row.values.tolist()):
        box = row.tokens.places.box(token)
        if box is not None:
            found[int((box[1] + box[3]) / 2 * GRID / SIZE), int((box[0] + box[2]) / 2 * GRID / SIZE)] += value
    return found


def left_out(model: cm.TracedModel, picture: np.ndarray, question: str, answer: str) -> np.ndarray:
    """How much the log-odds of the answer fall when a region is grey, (row, column): what a map is compared with."""
    side = SIZE // GRID
    pictures = [picture]
    for number in range(GRID * GRID):
        row, column = divmod(number, GRID)
        pictures.append(picture.copy())
        pictures[-1][row * side : (row + 1) * side, column * side : (column + 1) * side] = 128
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = model.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    read = model.processor(images=[[one] for one in pictures], text=[text] * len(pictures), return_tensors="pt")
    with torch.no_grad():
        chances = model.model(**read, logits_to_keep=1).logits[:, -1].double().log_softmax(-1)
    chosen = chances[:, model.tokenizer.convert_tokens_to_ids(answer)]
    odds = (chosen - torch.log1p(-chosen.exp())).numpy()
    return (odds[0] - odds[1:]).reshape(GRID, GRID)


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Correlation of ranks; ties have their mean rank."""
    first, second = (_ranks(one.ravel()) for one in (left, right))
    return float(np.corrcoef(first, second)[0, 1]) if first.std() and second.std() else 0.0


def _ranks(numbers: np.ndarray) -> np.ndarray:
    ordered = np.sort(numbers)
    return np.searchsorted(ordered, numbers, side="left") + np.searchsorted(ordered, numbers, side="right")


class Test(NamedTuple):
    """A new picture, the number of the quadrant that is asked for, and the colour of its disc."""

    picture: np.ndarray
    quadrant: int
    colour: str

    @property
    def prompt(self) -> dict[str, Any]:
        """What the model is given."""
        return {"image": self.picture, "text": asked(QUADRANTS[self.quadrant])}


def tests(random: np.random.Generator, count: int) -> list[Test]:
    """New pictures with questions."""
    found = []
    for _ in range(count):
        picture, names = painted(random)
        quadrant = int(random.integers(4))
        found.append(Test(picture, quadrant, names[quadrant]))
    return found


def row_of(found: cm.TokenMap) -> cm.TokenMap:
    """The row behind which the answer is said."""
    return found if found.dims == ("key",) else found.row(-1)


def is_strongest(found: np.ndarray, quadrant: int) -> float:
    """One if the regions (row, column) of a quadrant have more than those of each other, or else zero."""
    return float(found.reshape(2, GRID // 2, 2, GRID // 2).sum((1, 3)).argmax() == quadrant)


def told(numbers: list[float]) -> str:
    """The mean over pictures with its standard error."""
    return f"{np.mean(numbers):.2f} ± {np.std(numbers, ddof=1) / len(numbers) ** 0.5:.2f}"


def main() -> None:
    """Train, explain new pictures, and draw three of them."""
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    random = np.random.default_rng(seed)
    processor = reader()
    model = cm.load(trained(processor, random, seed=seed), processor)
    new, right = tests(random, 100), 0
    hits: dict[str, list[float]] = {method: [] for method in (*METHODS, LEFT_OUT)}
    ranks: dict[str, list[float]] = {method: [] for method in METHODS}
    for test in new:
        rows = {name: row_of(model.explain(test.prompt, **how)) for name, how in METHODS.items()}
        said = rows["evidence, direct"].provenance.notes["target"]
        right += said == test.colour
        truth = left_out(model, test.picture, test.prompt["text"], said)
        hits[LEFT_OUT].append(is_strongest(truth, test.quadrant))
        for name, row in rows.items():
            found = regions(row)
            hits[name].append(is_strongest(found, test.quadrant))
            ranks[name].append(spearman(found, truth))
    print(f"right answers: {right} of {len(new)}")
    print(f"{LEFT_OUT}: the asked quadrant is the strongest in {told(hits[LEFT_OUT])}")
    for method in METHODS:
        strongest = f"the asked quadrant is the strongest in {told(hits[method])}"
        print(f"{method}: {strongest}, Spearman with leaving out a region {told(ranks[method])}")
    if len(sys.argv) > 1:
        draw(model, new[:3])


def draw(model: cm.TracedModel, new: list[Test]) -> None:
    """Pictures above, maps below."""
    side = 3 * SIZE
    sheet = Image.new("RGB", (len(new) * (side + 8) - 8, 2 * side + 8), "white")
    for number, test in enumerate(new):
        overlay = model.explain(test.prompt, **METHODS["evidence, all paths"]).overlay(test.picture)
        for row, image in enumerate((Image.fromarray(test.picture), overlay)):
            sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (number * (side + 8), row * (side + 8)))
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
