"""Whether tests notice a fact deleted from a declaration, a row from a table, or an entry from a registry.

    python benchmarks/mutations.py [WORD...]     all facts, or those whose line holds a word

Facts are the arguments of declarations, elements of sets and entries of dicts; the words, defaults and bounds
inside them are not. Each is deleted in a copy of the tree and the tests of declarations are run on it; facts
that they pass without are listed, and the exit code is 1. Takes about half an hour on two cores.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
DECLARED = ("Setting", "Mixer", "Optimizer", "Parametrization", "Stack", "BackendKind", "ProgramKind")
FILES = (
    "models/recipe/shape.py", "models/recipe/recipe.py", "models/mixers/*/declaration.py",
    "models/mixers/registry.py", "models/architectures/registry.py", "models/optimizers/*.py",
    "models/parametrization/*.py", "orchestrator/backends/*/declaration.py",
    "orchestrator/backends/registry.py", "sweeps/registry.py",
)  # fmt: skip
TESTS = (
    "test_declarations.py", "test_rules.py", "test_trial.py", "test_toys.py", "test_floors.py",
    "test_proxy.py", "test_optimizers.py", "test_sweep_file.py", "test_session.py", "test_group_contract.py",
    "test_backends.py", "test_slurm_submission.py", "test_program_checks.py", "test_own_tables.py",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A file without one fact: that at a position of the node of this number; None: the whole file."""

    path: Path
    line: int
    what: str
    number: int
    position: tuple[str, int] | None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"

    @property
    def text(self) -> str:
        tree = ast.parse((ROOT / self.path).read_text())
        if self.position is not None:
            node = next(node for index, node in enumerate(ast.walk(tree)) if index == self.number)
            _delete(node, self.position)
        return ast.unparse(tree)


def mutants() -> Iterator[Mutant]:
    for pattern in FILES:
        for path in sorted(ROOT.glob(pattern)):
            yield from _of_file(path.relative_to(ROOT))


def _of_file(path: Path) -> Iterator[Mutant]:
    tree = ast.parse((ROOT / path).read_text())
    for number, node in enumerate(ast.walk(tree)):
        for position, what in _facts(node):
            yield Mutant(path, getattr(node, "lineno", 0), what, number, position)


def _facts(node: ast.AST) -> Iterator[tuple[tuple[str, int], str]]:
    """What can be deleted of a node: arguments of a declaration, entries of a dict, elements of a set."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DECLARED:
        for index, keyword in enumerate(node.keywords):
            yield ("keywords", index), f"{node.func.id} {keyword.arg}={ast.unparse(keyword.value)[:50]}"
        for index in range(1, len(node.args)):
            yield ("args", index), f"{node.func.id} {ast.unparse(node.args[index])[:50]}"
    if isinstance(node, ast.Dict):
        for index, key in enumerate(node.keys):
            if key is not None:
                yield ("keys", index), f"entry {ast.unparse(key)}"
    if isinstance(node, ast.Set):
        for index, element in enumerate(node.elts):
            yield ("elts", index), f"element {ast.unparse(element)}"


def _delete(node: ast.AST, position: tuple[str, int]) -> None:
    name, index = position
    del getattr(node, name)[index]
    if name == "keys":
        del node.values[index]  # type: ignore[attr-defined]
    if name == "elts" and isinstance(node, ast.Set) and not node.elts:
        node.elts.append(ast.Constant("nothing"))


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether the tests pass on the tree with the mutant in it."""
    target = tree / "site" / "mutransfer" / mutant.path
    before = target.read_text()
    target.write_text(mutant.text)
    environment = {**os.environ, "PYTHONPATH": str(tree / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider",
             *(f"tests/{name}" for name in TESTS)],
            cwd=tree / "site" / "mutransfer", env=environment, capture_output=True, check=False,
        )  # fmt: skip
    finally:
        target.write_text(before)
    return done.returncode == 0


def main() -> None:
    words = sys.argv[1:]
    chosen = [m for m in mutants() if not words or any(word in str(m) for word in words)]
    with tempfile.TemporaryDirectory() as scratch:
        trees: Queue[Path] = Queue()
        for index in range(WORKERS):
            tree = Path(scratch, str(index))
            ignored = shutil.ignore_patterns(
                ".git", ".venv", "runs", "__pycache__", "*.egg-info", ".mypy_cache"
            )
            shutil.copytree(ROOT, tree / "site" / "mutransfer", ignore=ignored, symlinks=True)
            trees.put(tree)

        def tried(mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                return survives(mutant, tree)
            finally:
                trees.put(tree)

        clean = Mutant(chosen[0].path, 0, "nothing deleted", 0, None)
        if not tried(clean):
            sys.exit("the tests fail on the tree as it is; mend it first")
        left = []
        with ThreadPoolExecutor(WORKERS) as pool:
            for mutant, survived in zip(chosen, pool.map(tried, chosen), strict=True):
                if survived:
                    left.append(mutant)
                    print(f"survives  {mutant}", flush=True)
    print(f"{len(chosen)} facts deleted, {len(left)} not noticed")
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
