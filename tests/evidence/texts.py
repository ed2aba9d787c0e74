"""Short texts to compare methods on."""

WORDS = ["good", "bad", "deep", "film", "the", "and", "was", "very"]
TEXTS = [f"a {one} {two} film" for one in WORDS for two in WORDS if one != two][:14]
