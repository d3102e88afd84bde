"""The HTML report in a real browser: charts are drawn, nothing is logged, no request leaves the page."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_probe import curve, probe_of

from mutransfer.models.recipe.family import Family
from mutransfer.orchestrator.cli.app import app
from mutransfer.results.checks.coordinates import Check, checks_from_object, judge_row
from mutransfer.results.report.coordinates_page import write_checks
from mutransfer.results.report.norm_scale_page import write_probes
from mutransfer.results.sources.importing import read_measurements

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no Chromium here; .ci/run installs one"
)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", "--dump-dom",
]  # fmt: skip
PUBLISHED = Path(__file__).parent / "published"


def open_page(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what they wrote to the console."""
    assert CHROMIUM is not None, "CI needs Chromium"
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def report_of(tmp_path: Path, *sources: Path) -> Path:
    for index, source in enumerate(sources):
        app(["import", str(source), "--out", str(tmp_path / str(index))], standalone_mode=False)
    app(["report", *(str(tmp_path / str(i)) for i in range(len(sources)))], standalone_mode=False)
    return tmp_path / "0" / "report" / "report.html"


@needs_browser
def test_charts_are_drawn_without_errors(tmp_path: Path) -> None:
    page = report_of(tmp_path, *sorted(PUBLISHED.glob("*.csv")))
    document, console = open_page(page, tmp_path / "profile")
    assert console == []
    figures = re.findall(r'<figure class="chart[^>]*>.*?</figure>', document, flags=re.S)
    assert len(figures) == 6  # optimum, loss and best loss, across width and across depth
    assert all('class="marks"' in figure and "mark-line" in figure for figure in figures)


@needs_browser
def test_a_page_is_no_wider_than_its_window(tmp_path: Path) -> None:
    """Wide charts and tables scroll by themselves."""
    page = report_of(tmp_path, *sorted(PUBLISHED.glob("*table1[56]*.csv")))
    html = "document.documentElement"
    measure = f"document.title = [{html}.scrollWidth, {html}.clientWidth].join(' of ')"
    script = f"<script>setTimeout(() => {{ {measure} }}, 3000)</script>"
    page.write_text(page.read_text() + script)
    document, _ = open_page(page, tmp_path / "profile")
    told = re.search(r"<title>(\d+) of (\d+)</title>", document)
    assert told is not None and int(told[1]) <= int(told[2])


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(("trials", "values", "charts"), [(1, 10, 1), (50, 10, 4), (5000, 50, 4)])
def test_reports_of_every_size_are_drawn(trials: int, values: int, charts: int, tmp_path: Path) -> None:
    """From a single trial to more comparisons than are drawn; with divergence, so with its map."""
    rows = []
    for index in range(trials):
        family, point = divmod(index, 5 * values)
        scale, value = divmod(point, values)
        octave = 10 * value / values
        loss = 3 + 0.1 * (octave - 5) ** 2 - 0.1 * scale
        shown = "" if octave >= 9 and trials > 1 else f"{loss:.4f}"
        rows.append(f"adamw,p{family},{16 * 2**scale},2,{2.0 ** (octave - 10)},{shown}\n")
    source = tmp_path / "losses.csv"
    source.write_text("optimizer,parametrization,width,depth,learning_rate,loss\n" + "".join(rows))
    page = report_of(tmp_path, source)
    assert page.stat().st_size < 5_000_000
    document, console = open_page(page, tmp_path / "profile")
    assert console == []
    assert document.count('class="marks"') == charts
    assert document.count("<tr>") >= max(trials // (5 * values), 1) + 1
    assert ("the tables hold all" in document) == (trials == 5000)


@needs_browser
def test_a_coordinate_check_is_drawn(tmp_path: Path) -> None:
    rows = tuple(
        judge_row(
            module=f"blocks.*.{quantity}", role="hidden", quantity=quantity, axis=axis, expected=0.0,
            at_most=False, values={scale: [scale**power, 1.1 * scale**power] for scale in (8.0, 16.0, 64.0)},
        )
        for axis in ("width", "depth") for quantity, power in (("update", 0.0), ("activation", 1.0))
    )  # fmt: skip
    check = Check(
        family=Family("transformer", "muon", "sp"), learning_rate=0.01, steps=10,
        seeds=2, rows=rows,
    )  # fmt: skip
    page, *beside = write_checks([check], "a <sweep>", tmp_path)
    assert sorted({path.suffix for path in beside}) == [".json", ".png", ".svg"]
    assert checks_from_object(json.loads(beside[0].read_text())) == (check,)
    document, console = open_page(page, tmp_path / "profile")
    assert console == []
    figures = re.findall(r'<figure class="chart[^>]*>.*?</figure>', document, flags=re.S)
    assert len(figures) == 2
    assert all('class="marks"' in figure and "mark-line" in figure for figure in figures)
    assert "a &lt;sweep&gt;" in document and "▲ fails" in document


@needs_browser
def test_a_norm_scale_probe_is_drawn(tmp_path: Path) -> None:
    probe = probe_of(curve("none", [4.0, 2.0, 2.5]), curve("readout=scalar", [2.5, 2.0, None]))
    page, *_ = write_probes([probe], "norms", tmp_path)
    document, console = open_page(page, tmp_path / "profile")
    assert console == []
    (figure,) = re.findall(r'<figure class="chart[^>]*>.*?</figure>', document, flags=re.S)
    assert figure.count("mark-line") >= 3
    assert "diverged" in document and "2.000" in document


@needs_browser
def test_options_are_drawn(tmp_path: Path) -> None:
    """The optimum at each value of an option, beside the rest of the report."""
    lines = ["architecture,optimizer,parametrization,width,depth,learning_rate,precision,loss"] + [
        f"transformer,adamw,mup,{width},2,{2.0**-x},{precision},{2 + 0.1 * (x - 5) ** 2}"
        for precision in ("float32", "bf16")
        for width in (16, 32, 64)
        for x in range(2, 9)
    ]
    source = tmp_path / "options.csv"
    source.write_text("\n".join(lines) + "\n")
    page = report_of(tmp_path, source)
    document, console = open_page(page, tmp_path / "profile")
    assert console == []
    assert 'id="option-precision-learning_rate"' in document
    assert "precision bf16 against float32" in document and "survives" in document


@needs_browser
def test_names_from_a_stranger_stay_text(tmp_path: Path) -> None:
    evil = "</script><script>console.log('owned')</script><img src=x onerror=console.log('owned')>"
    rows = "".join(f'"{evil}",sp,{width},2,{2.0**-i},{3 + 0.1 * (i - 5) ** 2}\n'
                   for width in (16, 32, 64) for i in range(3, 8))  # fmt: skip
    source = tmp_path / "losses.csv"
    source.write_text("optimizer,parametrization,width,depth,learning_rate,loss\n" + rows)
    assert read_measurements(source).num_rows == 15
    document, console = open_page(report_of(tmp_path, source), tmp_path / "profile")
    assert console == []
    assert document.count('class="marks"') == 3


def test_the_page_names_no_address(tmp_path: Path) -> None:
    """Without its library's own text (namespaces, links in comments) the page holds no URL."""
    page = report_of(tmp_path, next(PUBLISHED.glob("*15*"))).read_text()
    library = max(re.findall(r"<script>(.*?)</script>", page, flags=re.S), key=len)
    rest = page.replace(library, "").replace("https://vega.github.io/schema/vega-lite/", "")
    assert "http://" not in rest and "https://" not in rest
    assert "default-src 'none'" in page
