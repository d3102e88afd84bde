"""The script of the pages is kept in the user's cache, and never taken from there when it is not the same."""

from pathlib import Path

import pytest
import vl_convert

from mutransfer.results.report import vega


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often the script is made."""
    made: list[int] = []

    def bundle() -> str:
        made.append(1)
        return "let a = '</script>';"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return made


def test_it_is_made_once(bundled: list[int]) -> None:
    assert vega.script() == vega.script() == "let a = '<\\/script>';"
    assert len(bundled) == 1


def test_a_damaged_one_is_made_again(bundled: list[int], tmp_path: Path) -> None:
    first = vega.script()
    (kept,) = (tmp_path / "mutransfer").iterdir()
    kept.write_text("alert('not ours')")
    assert vega.script() == first
    assert len(bundled) == 2


def test_without_a_place_to_keep_it(
    bundled: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mutransfer").write_text("a file where the folder should be")
    assert vega.script()
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert vega.script()
    assert len(bundled) == 2
