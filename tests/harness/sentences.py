"""The sentences that the package's code makes in English, as templates with places.

The page recognizes such a sentence by its template (`server/pages/sentences.py`), so each that may
come there has to be in a catalogue. An f-string's places are named after what stands in them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import mage_dbt
from mage_dbt import errors
from mage_dbt.server.pages.sentences import ENDS, pieces

PACKAGE = Path(mage_dbt.__file__).parent

MOST_CONDITIONS = 5
"""Of one text."""

ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.WorkspaceError)
}

SQL = re.compile(
    r"\s*(select|with|insert|update|delete|create|alter|drop|grant|revoke|set|lock|comment|add|"
    r"savepoint|release|rollback|vacuum|refresh)\b[^.]*\Z",
    re.DOTALL,
)

BRACES = re.compile(r"\{(\w+)\}")
"""Places that `str.format` fills."""

VERBS = {
    "is": ("is", "are"),
    "was": ("was", "were"),
    "does": ("does", "do"),
    "has": ("has", "have"),
}
"""What a format puts in for one and for many."""

WORDS = re.compile(r"[A-Za-z]{2,}")


def templates(file: Path) -> Iterator[tuple[int, str, bool]]:
    """Each text of the file: its line, the template, and whether an error is made of it."""
    tree = ast.parse(file.read_text())
    tree = _Inlined(tree).visit(tree)
    skipped = set(_ignored(tree))
    of_errors = {
        id(part)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _called(call) in ERRORS
        for argument in (*call.args, *(word.value for word in call.keywords))
        for part in ast.walk(argument)
    }
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
            continue
        ways = _ways(node)
        if ways:
            skipped |= {id(part) for part in ast.walk(node) if part is not node} - {
                id(part)
                for value in ast.walk(node)
                if isinstance(value, ast.FormattedValue)
                for part in ast.walk(value)
            }
        for text in ways:
            yield getattr(node, "lineno", 0), text, id(node) in of_errors


def sentences(file: Path) -> Iterator[tuple[int, str, bool]]:
    """The same, cut where a sentence ends; what is only a place, or a word, is none."""
    for line, text, of_error in templates(file):
        if SQL.match(text):
            continue
        for piece in pieces(text):
            if len(WORDS.findall(re.sub(r"%\(\w+\)s", " ", piece))) > 1:
                yield line, piece, of_error


def is_sentence(text: str) -> bool:
    """Whether it begins and ends as one, and not as a part of one."""
    begins = text[:1].isupper() or text.startswith(("%(", "`", "dbt "))
    return begins and text.endswith(ENDS)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _ignored(tree: ast.AST) -> Iterator[int]:
    """Docstrings, logs, patterns and descriptions for programs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        if isinstance(node, ast.Call):
            whole = isinstance(node.func, ast.Attribute) and ast.unparse(node.func).startswith(
                ("log.", "re.", "logging.")
            )
            whole = whole or _called(node) in ("gettext", "ngettext")  # they have a catalogue
            for word in (*(node.args if whole else ()), *node.keywords):
                if whole or (isinstance(word, ast.keyword) and word.arg == "description"):
                    yield from (id(part) for part in ast.walk(word))


def _ways(node: ast.AST) -> list[str]:
    """The texts that an expression may come to; none where it is no text."""
    asked = sorted({ast.unparse(test) for test in _conditions(node)})[:MOST_CONDITIONS]
    ways = [
        way
        for answers in product((True, False), repeat=len(asked))
        if (text := _text(node, dict(zip(asked, answers, strict=True)))) is not None
        for way in _filled(text)
    ]
    return list(dict.fromkeys(ways))


def _filled(text: str) -> Iterator[str]:
    """The text with places for its braces; verbs that a format fills in both their forms."""
    for number in (0, 1):

        def put(place: re.Match[str], number: int = number) -> str:
            return VERBS[place[1]][number] if place[1] in VERBS else f"%({place[1]})s"

        yield _numbered(BRACES.sub(put, text))


class _Inlined(ast.NodeTransformer):
    """Puts a text that depends on something, and that has a name of its own, where it is used."""

    def __init__(self, tree: ast.AST) -> None:
        named: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                named.setdefault(node.targets[0].id, []).append(node.value)
        self._named = {
            name: values[0]
            for name, values in named.items()
            if len(values) == 1
            and isinstance(values[0], ast.IfExp)
            and {type(values[0].body), type(values[0].orelse)} <= {ast.Constant, ast.JoinedStr}
        }

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in self._named:
            node.value = self._named[node.value.id]
        return self.generic_visit(node)


def _conditions(node: ast.AST) -> Iterator[ast.expr]:
    """What a text depends on: one condition is answered alike wherever it stands in it."""
    for part in ast.walk(node):
        if isinstance(part, ast.IfExp):
            yield part.test
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult):
            yield from (side for side in (part.left, part.right) if not _letters(side))


def _letters(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _text(node: ast.AST, answers: Mapping[str, bool]) -> str | None:
    """The text under these answers; None for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value.replace("%", "%%") if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_place(value, answers) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        if _text(node.left, answers) is None and _text(node.right, answers) is None:
            return None
        return _place(node.left, answers) + _place(node.right, answers)
    return None


def _place(node: ast.AST, answers: Mapping[str, bool]) -> str:
    """What stands in a place, where the code tells, else the place."""
    if isinstance(node, ast.FormattedValue):
        return _place(node.value, answers)
    if isinstance(node, ast.IfExp) and (test := ast.unparse(node.test)) in answers:
        return _place(node.body if answers[test] else node.orelse, answers)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for letters, often in ((node.left, node.right), (node.right, node.left)):
            if isinstance(letters, ast.Constant) and isinstance(letters.value, str):
                return letters.value if answers.get(ast.unparse(often)) else ""
    text = _text(node, answers)
    return f"%({_name(node)})s" if text is None else text


def _name(value: ast.AST) -> str:
    """What a place is called: by the last word of what stands in it."""
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_").lower()
    if isinstance(value, ast.Name):
        return value.id.strip("_").lower()
    if isinstance(value, ast.Call):
        names = [_name(argument) for argument in value.args[:1]]
        return names[0] if names and names[0] != "it" else _name(value.func)
    if isinstance(value, ast.Subscript):
        return _name(value.value)
    return "it"


def _numbered(text: str) -> str:
    """With a number where two places have one name."""
    seen: dict[str, int] = {}

    def once(place: re.Match[str]) -> str:
        seen[place[1]] = number = seen.get(place[1], 0) + 1
        return place[0] if number == 1 else f"%({place[1]}{number})s"

    return re.sub(r"%\((\w+)\)s", once, text)
