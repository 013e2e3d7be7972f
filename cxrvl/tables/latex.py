"""How does a table become LaTeX (booktabs) that compiles with any engine?"""

from cxrvl.tables.cells import Block, Document

_LONG = 40
"""Cells of more characters break over lines."""
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "−": r"$-$",
    "Δ": r"$\Delta$",
    "†": r"$^{\dagger}$",
    "—": "---",
    "–": "--",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "[": "{[}",
    "]": "{]}",
}
"""Square brackets are wrapped: after a line break LaTeX reads a bare one as an optional argument."""


def escape(text: str) -> str:
    """Text in which no character has a meaning to LaTeX any more."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def latex(document: Document) -> str:
    r"""The document as ``table*`` floats; needs ``\usepackage{booktabs}`` and nothing else.

    The main blocks share one float with the caption and the notes; every further block has its own.
    """
    sentences = [_sentence(document.title), document.question, *document.caption]
    notes = [*document.footnotes, *(f"Warning: {warning}" for warning in document.warnings)]
    floats = [_float(document.main, [s for s in sentences if s], f"tab:{document.name}", notes)]
    for number, block in enumerate([*document.further, *([document.context] if document.context else [])], start=1):
        floats.append(
            _float((block,), [_sentence(document.title), _sentence(block.title)], f"tab:{document.name}_{number}", [])
        )
    return "% needs \\usepackage{booktabs}; written by cxrvl table, do not edit\n" + "\n".join(floats)


def _float(blocks: tuple[Block, ...], caption: list[str], name: str, notes: list[str]) -> str:
    header = blocks[0].header
    titled = len(blocks) > 1 or notes
    lines = [
        r"\begin{table*}",
        r"\centering\small",
        rf"\caption{{{' '.join(escape(sentence) for sentence in caption)}}}",
        rf"\label{{{name}}}",
        rf"\begin{{tabular}}{{@{{}}{_alignment(blocks)}@{{}}}}",
        r"\toprule",
        " & ".join(escape(name) for name in header) + r" \\",
    ]
    for block in blocks:
        lines.append(r"\midrule")
        if titled:
            lines.append(rf"\multicolumn{{{len(header)}}}{{@{{}}l}}{{\textbf{{{escape(block.title)}}}}} \\")
        lines += [" & ".join(escape(cell) for cell in cells) + r" \\" for cells in block.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {escape(note)}" for note in notes]
    return "\n".join([*lines, r"\end{table*}", ""])


def _alignment(blocks: tuple[Block, ...]) -> str:
    """Text flush left, numbers flush right, sentences in a paragraph column that breaks."""
    numeric = set.intersection(*(block.numeric() for block in blocks))
    columns = []
    for place in range(len(blocks[0].header)):
        longest = max((len(cells[place]) for block in blocks for cells in block.rows), default=0)
        columns.append("r" if place in numeric else "l" if longest <= _LONG else r"p{0.24\textwidth}")
    return "".join(columns)


def _sentence(text: str) -> str:
    """With a full stop, unless it ends in a mark of its own."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
