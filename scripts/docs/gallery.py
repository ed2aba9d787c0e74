"""Questions answered by the built-in models, each as a page that needs no network; made when the site is built."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contextmix as cm

OUTPUT = ("gradient_inputs", "decompx", "occlusion")
VECTOR = ("globenc", "alti_rollout", "attention_rollout")
STORY = ("evidence", "decompx", "gradient_inputs")


@dataclass(frozen=True)
class Question:
    """One page: what is asked, of which model, about which text, by which methods."""

    name: str
    asked: str
    text: str
    methods: tuple[str, ...]
    model: str = "demo"
    context: tuple[str, ...] = ()


QUESTIONS = (
    Question("sentiment", "What is the classifier's vector made of?", "a deep and meaningful film .", VECTOR),
    Question("class", "Which words made the model say “negative”?", "a tedious mess of a movie .", OUTPUT),
    Question("negation", "Does “not” count?", "this film is not good .", OUTPUT),
    Question("contrast", "Which half of a sentence with “but” decides?", "slow at first but a great film .", OUTPUT),
    Question("rollout", "Why does attention rollout point elsewhere?", "a meaningful film .", (*VECTOR, "attention")),
    Question("zeroing", "What does each layer lose without a token?", "a charming story .", ("value_zeroing", "norm")),
    Question("residual", "How much does the residual connection keep?", "a fine cast .", ("norm", "norm_residual")),
    Question("baseline", "Is this better than chance?", "a dull and tedious film .", ("occlusion", "random")),
    Question("name", "Why this name?", "Once upon a time, there was a little girl named", STORY, "demo-decoder"),
    Question("pronoun", "What did she play with?", "Lily had a red ball. She played with her", STORY, "demo-decoder"),
    Question("object", "What does the model remember?", "Tom had a big dog. He liked his", STORY, "demo-decoder"),
    Question(
        "answer",
        "Which sentence made this answer (RAG)?",
        "Who has the red ball?",
        (),
        "demo-answers",
        ("Tom has the blue kite. The sun was hot.", "Lily has the red ball. Lily lives in Oslo."),
    ),
)


def write_gallery(folder: Path) -> None:
    """Write one page per question; pages that are there and as new as this file are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    models: dict[str, Any] = {}
    for one in QUESTIONS:
        path = folder / f"{one.name}.html"
        if path.exists() and path.stat().st_mtime > Path(__file__).stat().st_mtime:
            continue
        if one.model not in models:
            models[one.model] = cm.load(one.model)
        model = models[one.model]
        if one.context:
            result = model.explain_answer(one.text, list(one.context))
        else:
            result = model.explore(one.text, list(one.methods))
        result.save(path, overwrite=True)


def gallery_page() -> str:
    """The page that lists them."""
    lines = [
        f'<li><a href="../gallery/{one.name}.html">{one.asked}</a><br><small>{one.model}: “{one.text}”</small></li>'
        for one in QUESTIONS
    ]
    return (
        "# Gallery: twelve questions\n\nEach page is one file that works without a network. `scripts/docs/gallery.py` "
        "makes them with the built-in models.\n\n```{raw} html\n<ol>\n" + "\n".join(lines) + "\n</ol>\n```\n"
    )
