"""Hostile and broken sweep files through the real command: exit 2, the file named, nothing made."""

import subprocess
import sys
from pathlib import Path

import pytest

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(8)
)

FILES = {
    "empty": (b"", "is empty; a sweep file has keys"),
    "only a comment": (b"# nothing\n", "is empty"),
    "a list": (b"- 1\n- 2\n", "is not a mapping"),
    "a scalar": (b"just text", "is not a mapping"),
    "binary": (bytes(range(256)) * 8, "is not UTF-8 text"),
    "control characters": (b"name: \x00\x01", "not valid YAML"),
    "anchors and aliases": (BOMB.encode(), "anchors and aliases are not allowed"),
    "an object tag": (b"name: !!python/object/apply:os.system ['touch pwned']\n", "the tag"),
    "a local tag": (b"name: !exec 'touch pwned'\n", "the tag !exec is not allowed"),
    "a broken bracket": (b"fixed: {steps: 5\naxes: ]\n", "not valid YAML"),
    "duplicate keys": (b"name: a\nname: b\n", "not valid YAML: found duplicate key"),
    "two documents": (b"name: a\n---\nname: b\n", "not valid YAML"),
    "deep nesting": (b"fixed: " + b"[" * 5000 + b"]" * 5000, "is nested more than"),
    "unknown fields": (b"name: a\nwidht: 3\n", "widht: is not a key of a sweep file"),
    "wrong types": (b"fixed: 3\naxes: [1]\n", "fixed: is a mapping, such as {key: value}, not 3"),
    "null sections": (b"fixed:\naxes:\n", "fixed: is a mapping, such as {key: value}, not None"),
    "not keys": (b"fixed: {1: 2, [a, b]: 3}\n", "fixed"),
    "too large": (b"name: a\n" + b"#" * (1 << 20), "is larger than"),
    "infinite": (b"fixed: {learning_rate: .nan}\n", "nan is not a finite number"),
    "a huge integer": (b"fixed: {steps: " + b"9" * 400 + b"}\n", "fixed.steps: is larger than 9.0072e+15"),
    "an endless range": (b"axes: {learning_rate: {log2: [0, 1e308], step: 1e-308}}\n", "log range"),
    "a huge ratio": (b"fixed: {mlp_ratio: 1.0e+308}\n", "fixed.mlp_ratio: is larger than 1e+30"),
    "a null in a path": (b'data: {tokens: "a\\0b", vocab_size: 9}\n', "a path cannot hold a null character"),
    "a timestamp": (b"fixed: {steps: 2020-01-01}\n", "fixed.steps"),
    "merge keys": (b"fixed: {<<: {steps: 5}}\n", "fixed"),
}


def run(path: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mutransfer.orchestrator.cli", "run", str(path)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", FILES)
def test_is_refused_cleanly(name: str, tmp_path: Path) -> None:
    content, message = FILES[name]
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    done = run(path, tmp_path)
    assert done.returncode == 2, done.stderr
    assert str(path) in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["sweep.yaml"]


def test_a_missing_file_names_the_presets(tmp_path: Path) -> None:
    done = run(tmp_path / "gone.yaml", tmp_path)
    assert done.returncode == 2
    assert "gone.yaml: cannot be read (No such file or directory)" in done.stderr
    assert "quickstart" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_not_a_sweep_file(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path)
    assert done.returncode == 2
    assert "is a directory; give a sweep file" in done.stderr
