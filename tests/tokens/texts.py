"""Random texts of several scripts, with emoji, accents, quotes and every kind of line break."""

from hypothesis import strategies as st

PARTS = [
    *(
        "a",
        "fox",
        "Mr.",
        "e.g.",
        "3.14",
        "U.S.",
        "end.",
        "Why?",
        "No!",
        "“Yes.”",
        "(maybe)",
        "…",
        "...",
        "x=1;",
        "http://a.b/c.d",
    ),
    *(
        "Żółw",
        "naïve",
        "e\u0301te\u0301",
        "Привет.",
        "أين",
        "أنا؟",
        "שלום",
        "नमस्ते।",
        "ไทย",
        "雨だ。",
        "「行こう！」",
        "日本語",
        "中文，好。",
        "한국어",
    ),
    *(
        "😀",
        "👩\u200d🔬",
        "🏳️\u200d🌈",
        "👍🏽",
        "\u200b",
        "\ufeff",
        "<b>",
        "&amp;",
        "</s>",
        "{{ x }}",
        "{context}",
        '"',
        "'",
        "\\",
        "1.",
        "-",
    ),
]
SPACES = [" ", " ", " ", "", "\n", "\n\n", "\r\n", " \n \n ", "\t", "\u00a0", "\u3000", "\u2028", "\x0b", "  "]

_PIECES = st.lists(
    st.tuples(st.sampled_from(PARTS) | st.characters(codec="utf-8"), st.sampled_from(SPACES)), max_size=12
)
texts = _PIECES.map(lambda pieces: "".join(part + space for part, space in pieces))
visible_texts = texts.filter(str.strip)
