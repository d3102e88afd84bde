"""`watch`: the report and the progress of sweeps as a page on this machine, new as trials end.

Nothing is written, and nothing is served but three texts made here: the frame, how the sweeps stand, and the
report.
"""

import hashlib
import html
import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ...models.recipe.fault import Fault
from ...results.report.shell import filled
from ..record.directory import SweepDirectory
from .status import sweep_status

HOST = "127.0.0.1"
LEAST_SECONDS, PATIENCE = 5.0, 5.0
"""The report is made again after so many seconds at the earliest, and so many times what making it takes."""
FRAME_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-src 'self'; img-src data:"
)


class Site:
    """What is served of some sweep directories."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = [SweepDirectory(path) for path in directories]
        self.name = ", ".join(directory.must_exist() for directory in self._directories)
        self._lock = threading.Lock()
        self._version, self._looked, self._took = "", 0.0, 0.0
        self._made: tuple[str, str] | None = None

    def frame(self) -> str:
        return filled("live.html", {"name": html.escape(self.name)})

    def state(self) -> str:
        """Trials that are done, and the version of the report, which changes when there are more; or why
        that cannot be told."""
        try:
            return self._state()
        except (Fault, OSError) as error:
            return json.dumps({"told": str(error), "wanted": 0, "done": 0, "version": self._version})

    def _state(self) -> str:
        found = [sweep_status(directory) for directory in self._directories]
        wanted = sum(status.counts.wanted for status in found)
        done = sum(status.counts.finished for status in found)
        diverged = sum(status.counts.diverged for status in found)
        states = ", ".join(dict.fromkeys(status.state for status in found))
        told = f"{states}: {done:,} of {wanted:,} trials done, {diverged:,} diverged" if wanted else self.name
        state = {"told": told, "wanted": wanted, "done": done, "version": self._current()}
        return json.dumps(state)

    def report(self) -> str:
        """The page of `report`, made again where there are new results."""
        version = self._current()
        with self._lock:
            if self._made is None or self._made[0] != version:
                began = time.monotonic()
                self._made = version, self._page()
                self._took = time.monotonic() - began
            return self._made[1]

    def _current(self) -> str:
        """Of the files of results, told by their names, sizes and times."""
        now = time.monotonic()
        if not self._version or now - self._looked > max(LEAST_SECONDS, PATIENCE * self._took):
            self._version, self._looked = self._told_by_files(), now
        return self._version

    def _told_by_files(self) -> str:
        digest = hashlib.sha256()
        for directory in self._directories:
            for path in sorted((directory.path / "results").glob("[!.]*.parquet")):
                try:
                    held = path.stat()
                except FileNotFoundError:  # gathered into another one just now
                    continue
                digest.update(f"{path}\0{held.st_size}\0{held.st_mtime_ns}\0".encode())
        return digest.hexdigest()[:16]

    def _page(self) -> str:
        from ...results.report.page import page_of
        from ..evidence.gather import gather

        try:
            evidence = gather([directory.path for directory in self._directories])
        except (Fault, OSError) as error:
            return _plain([str(error)])
        if evidence.content.comparisons or evidence.content.searches:
            return page_of(evidence.content)
        return _plain(evidence.problems or ["nothing to compare yet"])


def _plain(lines: Sequence[str]) -> str:
    told = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return f"<!DOCTYPE html><title>report</title><body>{told}</body>"


def server(site: Site, port: int) -> ThreadingHTTPServer:
    """Listening on the loopback address alone; port 0 is one that is free. Raises Fault for one in use."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            # Another name for this machine may be that of a page elsewhere, which would like to read along.
            host, _, _ = self.headers.get("Host", "").partition(":")
            made = {
                "/": (site.frame, "text/html; charset=utf-8"),
                "/state": (site.state, "application/json"),
                "/report": (site.report, "text/html; charset=utf-8"),
            }.get(self.path.partition("?")[0])
            if made is None or host not in (HOST, "localhost"):
                self.send_error(404)
                return
            text, kind = made
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if text == site.frame:
                self.send_header("Content-Security-Policy", FRAME_POLICY)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise Fault(f"--port {port}: {error.strerror}; give another, or none for one that is free") from None
