"""Make the built-in model that answers questions about a text, from nothing but a seed; no network, no data.

    python -m scripts.demo_answers [--seed 0] [--threads 1] [--out FOLDER]
    python -m scripts.demo_answers --measure    # only ask the model that is there

Stories and questions are drawn from `kinds.py` and `words.py` as training goes; the tokenizer is learned on others of
them. The weights are written in float16, with a card that holds what `measure.py` found. With the same seed, versions
and number of threads the same model comes out: not the one that is in the package. Its stages were started by hand,
each from the weights that the one before had left, while stories, rates and numbers of steps were still being changed;
the steps of the first two are about those after which they were stopped, and in the fourth and the last the rate fell
with the clock. How good another run gets was not measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from scripts.demo_answers.card import write_card
from scripts.demo_answers.reader import make_tokenizer
from scripts.demo_answers.training import STAGES, make_model, train
from transformers import AutoTokenizer, LlamaForCausalLM

HOME = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HOME / "src" / "contextmix" / "demo" / "answers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="train nothing; measure, and write the card anew")
    return parser.parse_args()


def write(model: LlamaForCausalLM, folder: Path) -> None:
    """Weights in float16, and configuration."""
    model.config._attn_implementation = "sdpa"
    model.generation_config.do_sample = False
    model.half().save_pretrained(folder)
    # It is written for its owner alone, and an installed package keeps the modes of its files.
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    """Learn the pieces, train, write, measure what was written."""
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.measure:
        reader = make_tokenizer(chosen.seed)
        reader.save_pretrained(chosen.out)
        model = make_model()
        for number, course in enumerate(STAGES):
            train(model, reader, course, chosen.seed + number)
        write(model, chosen.out)
    model = LlamaForCausalLM.from_pretrained(chosen.out, dtype=torch.float32).eval()
    print(write_card(model, AutoTokenizer.from_pretrained(chosen.out), chosen.out))


if __name__ == "__main__":
    main()
