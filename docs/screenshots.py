"""The pictures of the README, from a finished sweep: python docs/screenshots.py runs/quickstart

Writes the report, opens it in headless Chromium, light and dark, and keeps its charts beside the screenshots.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = Path(__file__).parent / "pictures"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=20000",
         "--window-size=1240,1500"]  # fmt: skip
SCHEMES = {"light": [], "dark": ["--blink-settings=preferredColorScheme=0"]}
CHARTS = {"optimum-learning_rate-across-width": "quickstart-optimum",
          "loss-learning_rate-across-width": "quickstart-loss"}  # fmt: skip


def main(sweep: Path) -> None:
    report = [sys.executable, "-m", "mutransfer.orchestrator.cli", "report", str(sweep)]
    subprocess.run(report, check=True, stdout=subprocess.DEVNULL)
    page = (sweep / "report" / "report.html").resolve()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "install Chromium"
    for scheme, flags in SCHEMES.items():
        with tempfile.TemporaryDirectory() as profile:
            target = f"--screenshot={PICTURES / f'report-{scheme}.png'}"
            words = [chromium, *FLAGS, *flags, f"--user-data-dir={profile}", target, page.as_uri()]
            subprocess.run(words, check=True, capture_output=True)
    for chart, name in CHARTS.items():
        shutil.copy(sweep / "report" / f"{chart}.png", PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
