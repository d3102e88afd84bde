"""One driver per sweep, whatever happens to drivers."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import wait_until

from mutransfer.orchestrator.record import lease as module
from mutransfer.orchestrator.record.lease import Lease, LostLeaseError, OwnedError, holder

HOLD = textwrap.dedent("""\
    import sys, time
    from pathlib import Path
    from mutransfer.orchestrator.record.lease import Lease, OwnedError
    try:
        with Lease(Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(float(sys.argv[2]))
    except OwnedError as error:
        print(error, flush=True)
        sys.exit(5)
    """)


def holding(directory: Path, seconds: float = 600) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_driver_is_told_who_the_first_is(tmp_path: Path) -> None:
    with holding(tmp_path) as first:
        assert said(first) == "held"
        with (
            pytest.raises(OwnedError, match=f"process {first.pid} on .* is running this sweep"),
            Lease(tmp_path),
        ):
            pass
        first.kill()


def test_a_dead_owner_is_succeeded_at_once(tmp_path: Path) -> None:
    with holding(tmp_path) as first:
        assert said(first) == "held"
        first.kill()
        first.wait()
        begin = time.monotonic()
        with Lease(tmp_path) as lease:
            assert lease.number == 2
        assert time.monotonic() - begin < module.STALE_SECONDS


def test_numbers_only_rise(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with Lease(tmp_path) as lease:
            assert lease.number == number
            held = holder(tmp_path)
            assert held is not None and held.process is not None and held.process.pid == os.getpid()
        assert holder(tmp_path) is None
    assert sorted(path.name for path in (tmp_path / "lease").glob("*.json")) == ["3.json"]


def test_a_reused_pid_is_not_the_owner(tmp_path: Path) -> None:
    """Another process with the pid of a dead owner, told by its start time."""
    with Lease(tmp_path):
        record = json.loads((tmp_path / "lease" / "1.json").read_text())
    (tmp_path / "lease" / "1.done").unlink()
    (tmp_path / "lease" / "1.json").write_text(json.dumps({**record, "started": record["started"] - 1}))
    with Lease(tmp_path) as lease:
        assert lease.number == 2


def test_a_stopped_owner_is_succeeded_and_stops_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_SECONDS", 4.0)  # two heartbeats
    with holding(tmp_path, 600) as first:
        assert said(first) == "held"
        wait_until((tmp_path / "lease" / "1.beat").exists)  # no heartbeat is half done when it stops
        try:
            first.send_signal(signal.SIGSTOP)
            with Lease(tmp_path) as second:
                assert second.number == 2
                second.check()
        finally:
            first.kill()  # a stopped one would be waited for


def test_an_owner_on_another_host_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeat moves: owned. It stands still: succeeded, whatever its clock says."""
    monkeypatch.setattr(module, "STALE_SECONDS", 1.5)
    folder = tmp_path / "lease"
    folder.mkdir()
    (folder / "7.json").write_text('{"host": "elsewhere", "boot": "x", "pid": 1, "started": 1}')
    (folder / "7.beat").write_text("1")
    beat = f"pathlib.Path({str(folder / '7.beat')!r}).write_text(str(n)); time.sleep(.1)"
    script = f"import time, pathlib\nfor n in range(99): {beat}"
    with subprocess.Popen([sys.executable, "-c", script]) as beating:
        wait_until(lambda: (folder / "7.beat").read_text() not in ("1", ""))
        with pytest.raises(OwnedError, match="process 1 on elsewhere"), Lease(tmp_path):
            pass
        beating.kill()
    with Lease(tmp_path) as lease:
        assert lease.number == 8


def test_a_lease_that_was_taken_over_is_lost(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        lease.check()
        (tmp_path / "lease" / "2.json").write_text('{"host": "h", "boot": "b", "pid": 9, "started": 1}')
        with pytest.raises(LostLeaseError, match="process 9 on h took this sweep over"):
            lease.check()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}'])
def test_an_unreadable_lease_is_watched_and_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(module, "STALE_SECONDS", 0.5)
    (tmp_path / "lease").mkdir()
    (tmp_path / "lease" / "3.json").write_text(text)
    with Lease(tmp_path) as lease:
        assert lease.number == 4


@pytest.mark.slow
def test_of_eight_at_once_one_owns(tmp_path: Path) -> None:
    """8 rounds; the dead owner of the round before is in the way."""
    for _ in range(8):
        with ExitStack() as stack:
            drivers = [stack.enter_context(holding(tmp_path)) for _ in range(8)]
            words = [said(driver) for driver in drivers]
            assert words.count("held") == 1, words
            for driver, word in zip(drivers, words, strict=True):
                if word == "held":
                    driver.kill()
                else:
                    assert driver.wait() == 5
                    assert "wait, or mutransfer cancel it" in word


def test_a_directory_that_is_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    place = tmp_path / "sweep"
    with Lease(place) as lease:
        place.rename(tmp_path / "moved")
        with pytest.raises(LostLeaseError, match="was moved or removed while this sweep ran"):
            lease.check()
        time.sleep(module.BEAT_SECONDS + 0.5)  # so that a heartbeat is due
    assert not place.exists()
