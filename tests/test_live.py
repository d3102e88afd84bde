"""The live page in a real browser: progress and report, new as trials end, and nothing else is served."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from conftest import Command, arguments
from test_browser import CHROMIUM, FLAGS, needs_browser

from mutransfer.orchestrator.upkeep import live
from mutransfer.orchestrator.upkeep.live import Site, server

HEADER = "parametrization,width,lr,loss\n"


def losses(width: int) -> str:
    return "".join(f"mup,{width},{2.0**x},{3 + 0.1 * (x + 5) ** 2 - width / 1e4}\n" for x in range(-8, -2))


@pytest.fixture
def sweep(tmp_path: Path, mutransfer: Command) -> Path:
    (tmp_path / "small.csv").write_text(HEADER + losses(16) + losses(32))
    (tmp_path / "more.csv").write_text(HEADER + losses(64))
    for name in ("small", "more"):
        assert mutransfer("import", f"{name}.csv", "--out", name).returncode == 0
    return tmp_path / "small"


@pytest.fixture
def port(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(live, "PATIENCE", 0.0)
    with server(Site([sweep]), 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving.server_port
        serving.shutdown()


def get(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_new_result_is_a_new_report(port: int, sweep: Path) -> None:
    before, page = json.loads(get(port, "/state")[1]), get(port, "/report")[1]
    assert get(port, "/report?again")[1] == page and ">64<" not in page
    held = {path.name for path in sweep.rglob("*")}
    (more,) = (sweep.parent / "more" / "results").iterdir()
    os.link(more, sweep / "results" / "more.parquet")
    after = json.loads(get(port, "/state")[1])
    assert after["version"] != before["version"]
    assert ">64<" in get(port, "/report")[1]
    assert {path.name for path in sweep.rglob("*")} == held | {"more.parquet"}  # nothing is written


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/", None, 200),
        ("HEAD", "/", None, 200),
        ("GET", "/", "localhost:1", 200),
        ("GET", "/sweep.yaml", None, 404),
        ("GET", "/../small/sweep.yaml", None, 404),
        ("GET", "/%2e%2e/small/sweep.yaml", None, 404),
        ("GET", "//etc/passwd", None, 404),
        ("GET", "/state", "elsewhere.example", 404),
        ("POST", "/state", None, 501),
        ("DELETE", "/report", None, 501),
    ],
)
def test_nothing_else_is_served(port: int, method: str, path: str, host: str | None, status: int) -> None:
    assert get(port, path, method, host)[0] == status


def test_it_listens_on_the_loopback_address_alone(port: int) -> None:
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((str(address), port), timeout=5)


@needs_browser
def test_the_page_shows_progress_and_report(port: int, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    shown = {}
    for name in ("", "report"):
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"http://127.0.0.1:{port}/{name}"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert "CONSOLE" not in done.stderr
        shown[name] = done.stdout
    assert '<span id="told">small</span>' in shown[""] and 'src="/report?' in shown[""]
    assert shown["report"].count('class="marks"') == 3


@pytest.mark.slow
def test_what_is_gone_or_damaged_is_told_on_the_page(port: int, sweep: Path) -> None:
    """And seen again when it is back."""
    before = json.loads(get(port, "/state")[1])
    sweep.rename(sweep.with_name("away"))
    status, told = get(port, "/state")
    assert status == 200 and "small: is not a sweep directory" in json.loads(told)["told"]
    assert get(port, "/report")[0] == 200
    sweep.with_name("away").rename(sweep)
    assert json.loads(get(port, "/state")[1])["told"] == before["told"]
    (sweep / "plan.json").write_text("")
    status, told = get(port, "/state")
    assert status == 200 and "plan.json: cannot be read" in json.loads(told)["told"]


def test_the_command_serves_until_it_is_interrupted(sweep: Path) -> None:
    with subprocess.Popen(arguments("watch", str(sweep)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split("/")[2].partition(":")[2])
        assert get(port, "/")[0] == 200
        taken = subprocess.run(
            arguments("watch", str(sweep), "--port", str(port)), capture_output=True, text=True, check=False
        )
        assert (
            taken.returncode == 2 and f"--port {port}: Address already in use; give another" in taken.stderr
        )
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
