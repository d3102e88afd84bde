"""No import runs up between the floors, and the torch-free half stays torch-free."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "models": {"models"},
    "results": {"results", "models/recipe", "models/files"},  # the fields are declared there
    "sweeps": {"sweeps", "models"},
    "orchestrator": {"orchestrator", "sweeps", "models", "results"},
}
HEAVY = ("torch", "ray", "submitit", "optuna")


def modules() -> list[Path]:
    return sorted(path for floor in ALLOWED for path in (ROOT / floor).rglob("*.py"))


def imported_modules(path: Path) -> set[tuple[str, ...]]:
    """Targets of the relative imports of a module, as paths from the root of the package."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = package[: len(package) - node.level + 1]
            found.add((*start, *(node.module or "").split(".")))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_runs_up(path: Path) -> None:
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]]
    for target in imported_modules(path):
        assert not target or not target[0] or {target[0], "/".join(target[:2])} & allowed


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imports_by_name(node: ast.AST) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    if isinstance(node, ast.ImportFrom) and not node.level:
        names.append(node.module or "")
    return any(name.partition(".")[0] == "mutransfer" for name in names)


def test_no_module_imports_the_package_by_name() -> None:
    """But for the one that users may copy beside their script."""
    named = {path for path in modules() if any(_imports_by_name(node) for node in ast.walk(_parsed(path)))}
    assert named == {ROOT / "models" / "handover" / "trial.py"}


def test_every_folder_with_code_is_packaged() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(("mutransfer", *path.relative_to(ROOT).parent.parts)) for path in modules()}
    assert set(listed) == folders | {"mutransfer"}


@pytest.mark.parametrize(
    "statement",
    [
        "import mutransfer.sweeps.load, mutransfer.sweeps.cost",
        "import mutransfer.results.report.page, mutransfer.results.questions.comparison",
        "import mutransfer.results.sources.importing",
        "import mutransfer.models.parametrization.rules, mutransfer.models.data.corpus",
        "import mutransfer.orchestrator.run.driver, mutransfer.orchestrator.handover.export",
        "from mutransfer.orchestrator.cli.app import app; app(['--help'], standalone_mode=False)",
    ],
)
def test_loads_without_the_heavy_packages(statement: str) -> None:
    check = f"import sys; {statement}; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    """The command answers at once because it loads no table, chart or schema library."""
    heavy = (*HEAVY, "pandas", "pyarrow", "altair", "pydantic", "numpy")
    statement = "from mutransfer.orchestrator.cli.app import app; app(['--help'], standalone_mode=False)"
    check = f"import sys; {statement}; print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_training_side_needs_only_torch_numpy_and_pyarrow() -> None:
    """A bare GPU image can run a worker."""
    banned = ("pandas", "pydantic", "ruamel", "typer", "rich", "altair")
    check = (
        "import sys; import mutransfer.orchestrator.job.worker; "
        f"print([m for m in {banned} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_folder_knows_slurm() -> None:
    """Beside it only the registry, the sweep file's section, and texts for people."""
    allowed = {"orchestrator/backends/registry.py", "sweeps/slurm.py", "sweeps/spec.py"}
    told = {"orchestrator/cli/upkeep.py"}  # the help of a command
    knowing = {str(path.relative_to(ROOT)) for path in modules() if "slurm" in path.read_text().lower()}
    assert {path for path in knowing if not path.startswith("orchestrator/backends/slurm/")} == allowed | told


def test_what_is_named_in_the_docs_exists() -> None:
    """Paths of code, and dotted names of modules."""
    named = re.compile(r"`((?:models|sweeps|results|orchestrator|tests|benchmarks)/[\w/.-]+\.py)`")
    dotted = re.compile(r"mutransfer((?:\.(?:models|sweeps|results|orchestrator))(?:\.[a-z_]+)+)")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    for page in pages:
        text = page.read_text()
        lost = [path for path in named.findall(text) if not (ROOT / path).exists()]
        for name in dotted.findall(text):
            path = ROOT.joinpath(*name.strip(".").split("."))
            if not (
                path.with_suffix(".py").exists() or path.is_dir() or path.parent.with_suffix(".py").exists()
            ):
                lost.append(f"mutransfer{name}")
        linked = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
        lost += [link for link in linked if not (page.parent / link).exists()]
        if page.name != "CHANGELOG.md":  # which names what is no longer there
            assert not lost, (page.name, lost)
