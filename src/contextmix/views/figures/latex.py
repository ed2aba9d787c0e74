"""Coloured text for papers: a row of a map as LaTeX, and any text as LaTeX that prints it."""

from __future__ import annotations

import re

from contextmix.errors import WrongShape, refuse_kind
from contextmix.results.token_map import TokenMap
from contextmix.views.drawing.colours import background, foreground
from contextmix.views.drawing.picture import picture
from contextmix.views.drawing.running_text import spelled

PREAMBLE = r"\usepackage{xcolor}"
"""What a document needs before `to_latex` is pasted into it."""

_LONGEST = 60
_JOINED = re.compile("-{2,}|,{2,}")

# Signs with a meaning of their own, and signs that TeX would join into another one: -- ?` '' << and the like.
_SIGNS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
_SIGNS |= {"<": r"\textless{}", ">": r"\textgreater{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}"}
_SIGNS |= {'"': r"\char34{}"}
_SIGNS |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
_SIGNS |= {"…": r"\ldots{}", "–": r"\textendash{}", "—": r"\textemdash{}", "␣": r"\textvisiblespace{}"}
_SIGNS |= {
    "½": r"\textonehalf{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "·": r"\textperiodcentered{}",
}
_MATHS = {"↑": r"\uparrow", "↓": r"\downarrow", "★": r"\star", "†": r"\dagger", "−": "-", "≥": r"\ge", "≤": r"\le"}
_MATHS |= {"±": r"\pm", "∞": r"\infty", "×": r"\times", "÷": r"\div", "⟨": r"\langle", "⟩": r"\rangle"}
_MATHS |= {"∅": r"\emptyset", "⏎": r"\hookleftarrow", "⇥": r"\mapsto", "←": r"\leftarrow", "→": r"\rightarrow"}
_MATHS |= {"Σ": r"\Sigma", "ρ": r"\rho", "ξ": r"\xi", "α": r"\alpha", "τ": r"\tau", "‖": r"\|"}
_SIGNS |= {sign: f"${command}$" for sign, command in _MATHS.items()}


def escape(text: str) -> str:
    r"""A text in LaTeX that prints exactly it: no sign keeps a meaning of its own, and none is joined with the next.

    Args:
        text: Any printable text of one line; letters beyond ASCII stay as they are.

    Example:
        >>> escape("50% of $x_1$"), escape(r"\input{a}"), escape("e-mail -- or not")
        ('50\\% of \\$x\\_1\\$', '\\textbackslash{}input\\{a\\}', 'e-mail {-}{-} or not')
    """
    written = "".join(_SIGNS.get(sign) or _picture_of_control(sign) for sign in text)
    return _JOINED.sub(lambda found: "".join(f"{{{sign}}}" for sign in found[0]), written)


def to_latex(token_map: TokenMap, query: int | str | None = None, *, document: bool = False) -> str:
    r"""A row as coloured text for a paper, as it is shown in a terminal or notebook.

    It needs ``\usepackage{xcolor}`` and nothing else. Colours are those of every view; zero is white. Letters beyond
    ASCII stay: pdfLaTeX knows those of European languages, LuaLaTeX and XeLaTeX all that the font has.

    Args:
        token_map: A map with the axes key, or (query, key).
        query: The token whose row to write, by position or text; needed where there is more than one.
        document: Whether to write a whole document, ready to be compiled.

    Returns:
        Lines of LaTeX, the first ones comments that say what the colours mean.

    Raises:
        WrongShape: If the map is not one row.
        UnknownToken: If there is no such query.
        AmbiguousToken: If the text of the query occurs more than once.

    Example:
        >>> from contextmix.results.provenance import Provenance
        >>> from contextmix.tokens.pieces import Tokens
        >>> result = TokenMap([0.25, 1.0], ("key",), Tokens(("100", "%")), "share", Provenance("example"))
        >>> print(to_latex(result).splitlines()[-2])
        \space \colorbox[HTML]{08306B}{\textcolor{white}{\strut \%}}%
    """
    refuse_kind("to_latex: document", document, bool)
    row = token_map if query is None else token_map.row(query)
    if row.dims != ("key",):
        raise WrongShape(
            f"Coloured text is one row, and this map has {' × '.join(row.dims)}. Choose one, for example "
            "map.row('[CLS]').to_latex(), or map.row('[CLS]', layer=-1).to_latex() of a map with layers."
        )
    drawn = picture(row)
    body = [r"{\setlength{\fboxsep}{1pt}\raggedright%"]
    for place, ((gap, token), score) in enumerate(zip(spelled(row.tokens), drawn.scores[0], strict=True)):
        body.append(_between(gap, place) + _box(token, float(score), drawn.signed))
    body.append(r"\par}")
    said = [f"% {_of_one_line(sentence)}" for sentence in drawn.caption]
    lines = [*said, rf"% Needs {PREAMBLE} in the preamble.", *body]
    if document:
        head = [r"\documentclass{article}", r"\usepackage[T1]{fontenc}", PREAMBLE, r"\begin{document}"]
        lines = [*head, *lines, r"\end{document}"]
    return "\n".join(lines) + "\n"


def _between(gap: str, place: int) -> str:
    """A space as written; a line may also end inside a word, as boxes do not break themselves."""
    return r"\space " if gap else r"\allowbreak " if place else ""


def _box(token: str, score: float, signed: bool) -> str:
    colour = background(score, signed)
    ink = "white" if foreground(colour) == "#ffffff" else "black"
    shown = token if len(token) <= _LONGEST else token[: _LONGEST - 1] + "…"
    # A space at the end would be dropped, several would be one: each is said.
    text = escape(shown).replace(" ", r"\ ")
    return rf"\colorbox[HTML]{{{colour[1:].upper()}}}{{\textcolor{{{ink}}}{{\strut {text}}}}}%"


def _picture_of_control(sign: str) -> str:
    """␛ and the like, which few fonts have, as their code points; other signs as they are."""
    return rf"\texttt{{U+{ord(sign) - 0x2400:04X}}}" if "\u2400" <= sign <= "\u2421" else sign


def _of_one_line(sentence: str) -> str:
    return " ".join(sentence.split())
