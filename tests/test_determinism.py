"""What must not be in code that decides a result: orders and values that differ between runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hermes

PACKAGE = Path(hermes.__file__).parent
PARTS = ("catalog", "costs", "workload", "metrics", "sim", "evaluation")
SOURCES = sorted(path for part in PARTS for path in (PACKAGE / part).rglob("*.py"))
SEEDED = {"default_rng", "SeedSequence", "Generator", "PCG64"}
KNOWN = {PACKAGE / "sim" / "laws.py": ["id()"]}  # counts different objects, in no order


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.For | ast.comprehension) and unordered(node.iter):
            yield f"iterates over a set: {ast.unparse(node.iter)}"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in {"hash", "id"}:
                yield f"{name}()"
            if name in {"list", "tuple", "next", "iter"} and node.args and unordered(node.args[0]):
                yield f"takes a set's order: {ast.unparse(node)}"
            if name.startswith(("np.random.", "numpy.random.")) and not (
                name.rpartition(".")[2] in SEEDED and (node.args or node.keywords)
            ):
                yield f"{name}()"
        elif isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names):
            yield "import random"


def unordered(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return unordered(node.left) or unordered(node.right)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"set", "frozenset"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_results_depend_on_no_set_order_no_hash_and_no_global_randomness(path: Path) -> None:
    assert list(findings(path.read_text("utf-8"))) == KNOWN.get(path, [])


@pytest.mark.parametrize(
    "code",
    ["for x in {1, 2}: pass", "[x for x in set(a)]", "list(set(a) | b)", "hash('a')", "id(x)",
     "import random", "np.random.rand()", "np.random.default_rng()", "next(iter({x for x in a}))"],
)  # fmt: skip
def test_the_check_itself_finds_what_it_is_for(code: str) -> None:
    assert list(findings(code))
