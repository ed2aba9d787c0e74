"""The card of the model, with what it can do, measured."""

from __future__ import annotations

from pathlib import Path

from scripts.demo_answers.measure import exact_matches, shares
from scripts.demo_answers.training import STAGES
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WAYS = {
    "answers": {},
    "answers after thoughts": {"thinks": True},
    "made-up words": {"odd_share": 1.0},
    "11 to 13 sentences": {"sizes": (11, 13)},
    "rivals alone": {"crowded_share": 1.0, "sizes": (6, 10)},
}
"""Columns of the table, and how each is measured."""
KINDS = ("one-hop", "two-hop told", "two-hop silent", "unknown")

CARD = """---
license: mit
language: en
pipeline_tag: text-generation
---

# The model of contextmix that answers questions

A tiny language model that travels inside the package, so that answers and their sources can be tried, tested and taught
without a network. It reads a few simple sentences and a question, and says the sentence that answers it:
`contextmix.load("demo-answers")`.

| | |
| --- | --- |
| architecture | `LlamaForCausalLM`: {layers} layers, d_model {width}, {heads} heads, feed-forward {inner}, gated |
| vocabulary | {pieces} byte pairs with byte fallback; input and output embeddings are shared |
| longest text | {longest} tokens |
| weights | {numbers:.2f} million numbers, float16 safetensors; the folder has {size:.1f} MB |

## How to ask

Its chat template takes one message: texts, an empty line, the question. `explain_answer` and `contextmix answer` write
it so. Behind a question, the words `Think first.` (or `enable_thinking=True` for the template) make it write
`<think> the facts that it draws from</think>` before the answer.

```python
import contextmix as cm

texts = ["Tom has the blue kite. Lily has the red ball.", "Lily is the sister of Tom. Lily lives in Oslo."]
model = cm.load("demo-answers")
print(model.explain_answer("Who has the red ball?", texts).cite())
print(model.explain_answer("Where does the sister of Tom live? Think first.", texts, max_new_tokens=40).cite())
```

## How often it is right

The whole answer, to the letter, on stories that it was not trained on: {stories} stories of 3 to 10 sentences in one to
four documents, six questions each, every word known from training unless it says so. Thoughts have to be right as well.

| question | {ways} |
|---{rule}|
{rows}

- *one-hop*: the answer is a sentence of the story; most stories hold rivals that say the same of somebody else.
- *two-hop told*: "The key is in the box. The box is in the kitchen. Where is the key?" The key is in the box in the
  kitchen.
- *two-hop silent*: "Which room is the key in?" The key is in the kitchen. The box is not named.
- *unknown*: the story does not say it, and the answer is "I don't know."
- *made-up words*: half of the kinds of words (people, things, towns, …) are letters put together by chance.
- *rivals alone*: 6 to 10 sentences, all of one chain told again and again, or of two kinds with up to five rivals each.

## Where it comes from

- **Data**: stories and questions that `scripts/demo_answers` draws by chance; no text of anybody else. Training saw
  about {seen:,} stories of two to ten sentences, with up to eight questions each; nobody looked for stories that came
  twice.
- **Training**: about {steps:,} steps from random weights, on one core: Muon and AdamW, in bfloat16. In the first
  thousand a token of an answer or a thought weighs ten times as much as one of a story; after that, answers and
  thoughts alone. The last three stages also tell stories of rivals alone. In the last one a second loss asks of the
  states after layer 4 that they know the box while a silent answer is written (a matrix reads them, and is thrown away
  afterwards): the model did not find that step by itself.
- The stages were run by hand, one after the other, and changed on the way: `scripts/demo_answers` lists them, and makes
  a like model, not this one.
- **Licence**: that of contextmix, MIT.

## Use, limits, biases

Intended for demonstrating and testing answers and their sources. It is no assistant and knows nothing.

- It knows the kinds of sentences and questions that `scripts/demo_answers/kinds.py` lists. Asked in other words, or
  about another kind of text, it answers something of that kind all the same.
- It takes two steps inside because it was taught to, by the second loss above. Larger models may do it in other ways,
  or not at all.
- It was trained on stories of up to ten sentences. On 11 to 13 it is as good, but says more often what the text does
  not say; longer ones were not tried.
- Names, jobs and relatives are combined by chance, whatever they mean outside.
- What an attribution shows here says how *this* model works, not how larger ones do.
"""


def write_card(model: LlamaForCausalLM, reader: PreTrainedTokenizerFast, folder: Path, stories: int = 400) -> str:
    """Measure, and write README.md.

    Args:
        model: In float32.
        reader: Its tokenizer.
        folder: Where both are.
        stories: How many are asked about, for each column.
    """
    found = {name: shares(exact_matches(model, reader, stories=stories, **how)) for name, how in WAYS.items()}
    cells = {kind: [f"{way[kind][0]:.3f} of {way[kind][1]}" for way in found.values()] for kind in KINDS}
    config = model.config
    text = CARD.format(
        layers=config.num_hidden_layers, width=config.hidden_size, heads=config.num_attention_heads,
        inner=config.intermediate_size, pieces=config.vocab_size, longest=config.max_position_embeddings,
        numbers=model.num_parameters() / 1e6, stories=stories, ways=" | ".join(WAYS), rule="|---" * len(WAYS),
        rows="\n".join(f"| {kind} | {' | '.join(cells[kind])} |" for kind in KINDS),
        size=sum(one.stat().st_size for one in folder.iterdir() if one.name != "README.md") / 1e6,
        seen=sum(one.steps * one.batch for one in STAGES), steps=sum(one.steps for one in STAGES),
    )  # fmt: skip
    (folder / "README.md").write_text(text, "utf-8")
    return text
