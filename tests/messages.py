"""The messages that people read, found in the code: strings and f-strings as templates, and the words of pages.

A template has `{}` where a value stands and `{#}` where a number does, as `pipeline/runtime/language` has them.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = ("pipeline", "cache_builder", "training", "inference")
NOT_READ = {
    "cache_builder/export/card.py": "a data-set card, for readers of all languages",
    "inference/serve/http/openapi.py": "a description for programs",
    "inference/serve/metrics.py": "counts for programs",
    "pipeline/datasets/synthetic/motion.py": "names of movements",
}
_NUMBER_FORMAT = re.compile(r"[,\d.+]*[dfgeE%]|,")
_WORD = re.compile(r"[A-Za-z]{2,}")
_FUNCTION_WORDS = frozenset(
    word
    for words in (
        "the of is are not no with without in to from it its this that for and or be by as has have had an a at on was",
        "were which what cannot can does do than may must each there into them these those if so but more less most",
        "other another under over expected where when how who whose",
    )
    for word in words.split()
)
_COUNTED = re.compile(r"\{#\} [A-Za-z ]{3,}")
_SQL = re.compile(r"\b(SELECT|FROM|CREATE|INSERT|UPDATE|DELETE|PRAGMA|PARTITION|COALESCE|DESC|AND NOT|IN \(|\|\|)")
_NOT_WORDS = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|--[\w-]+|\S*[_./:=\\]\S*\w|[A-Z]{2,}|[\w.]+-[\w-]+")


def english_in(text: str) -> list[str]:
    """Return the English words of a text that make it a sentence: names, options and commands have none of them."""
    return [word for word in _WORD.findall(_NOT_WORDS.sub(" ", text)) if word.lower() in _FUNCTION_WORDS]


def is_counted(template: str) -> bool:
    """Return whether a template is a number of things."""
    return bool(_COUNTED.fullmatch(template))


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the template of each string of a module that reads as a sentence."""
    for line, template in _strings(ast.parse(path.read_text(encoding="utf-8"))):
        text = " ".join(template.split("\b")[0].split()) if "\b" in template else template
        is_sentence = len(_WORD.findall(text)) > 1 and english_in(text) and not _SQL.search(text) and "<" not in text
        if is_sentence or is_counted(text):
            yield line, text


def modules() -> list[Path]:
    """Return the modules whose strings people read."""
    found = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
    return [path for path in found if str(path.relative_to(ROOT)) not in NOT_READ]


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if is_docstring or isinstance(node, ast.Assert):
        return
    if isinstance(node, ast.FunctionDef) and any(_is_command(decorator) for decorator in node.decorator_list):
        for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
            yield node.lineno, " ".join(paragraph.split()) if "\b" not in paragraph else ""
    if isinstance(node, ast.arg | ast.AnnAssign):
        yield from () if getattr(node, "value", None) is None else _strings(node.value)  # type: ignore[union-attr]
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "counted":
        yield from ((node.lineno, f"{{#}} {noun}") for noun in _nouns(node))
        return
    if _is_text(node):
        assert isinstance(node, ast.expr)
        yield node.lineno, _template(node)
        for inner in _values(node):
            yield from _strings(inner)
        return
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _nouns(call: ast.Call) -> list[str]:
    """Return the singular and the plural of what is counted, where the code tells them."""
    nouns = [found.value for found in call.args[1:] if isinstance(found, ast.Constant)]
    return [*nouns, f"{nouns[0]}s"] if len(nouns) == 1 else nouns


def _is_command(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in ("command", "click.group")


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("{", "{{").replace("}", "}}")
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.FormattedValue):
        format_ = _template(node.format_spec) if node.format_spec else ""
        return "{#}" if _NUMBER_FORMAT.fullmatch(format_) else "{}"
    if isinstance(node, ast.BinOp) and _is_text(node):
        return _template(node.left) + _template(node.right)
    return "{}"


def _values(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.FormattedValue))
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            if _is_text(side):
                yield from _values(side)
            else:
                yield side
