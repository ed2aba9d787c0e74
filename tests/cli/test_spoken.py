"""What the library says of arguments of Python is said of flags on the command line."""

import re

import pytest

from contextmix.cli.spoken import spoken

FLAGS = {
    name: f"--{name.replace('_', '-')}"
    for name in ("text_field", "pair_field", "target", "against", "task", "truncate", "query", "progress", "max_tokens")
} | {"overwrite": "--force"}


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("Choose another name, or use overwrite=True (--force in a terminal).", "Choose another name, or use --force."),
        ("Name both with text_field and pair_field (--text-field, --pair-field).", None),
        ("Name one of 'text_field' or alone with text_field.", "Name one of 'text_field' or alone with --text-field."),
        ("use task='answer' (--task answer), in another folder", "use --task answer, in another folder"),
        ("such as target=('Lily', 'Tim'), or none", "such as --target Lily --against Tim, or none"),
        ("Give target='two words'.", "Give --target 'two words'."),
        ("Use progress=False or truncate=True.", "Use --no-progress or --truncate."),
        ("max_tokens=-3 is too few", "--max-tokens -3 is too few"),
        ("baseline='pad' is not possible. Use baseline='zero'.", "baseline=pad is not possible. Use baseline=zero."),
        ("exact=True is slow", "exact=true is slow"),
        ("Say query=… or contextmix.load(model)", "Say --query … or contextmix.load(model)"),
    ],
)
def test_arguments_become_flags(sentence, told):
    assert spoken(sentence, FLAGS) == (told or "Name both with --text-field, --pair-field.")


def test_words_of_people_stay_as_they_are():
    said = "There is no token 'a=True' in text. Its tokens are 'query' and 'x'."
    assert spoken(said, FLAGS) == said
    assert re.search("target", spoken("the target of a task", FLAGS))
