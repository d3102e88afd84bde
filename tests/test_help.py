"""The command line is a contract: what every command takes, as it was when it was last meant to change."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mutransfer.orchestrator.cli.app import app

HELP = Path(__file__).parent / "help"
COMMANDS = sorted(path.stem for path in HELP.glob("*.txt"))


def shown(command: str) -> str:
    words = (
        [] if command == "mutransfer" else command.split("-", 1) if command.startswith("probe") else [command]
    )
    environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "TERM": "dumb", "NO_COLOR": "1"}
    done = CliRunner(env=environment).invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    lines = (line.rstrip() for line in done.stdout.splitlines())
    return "\n".join(line for line in lines if not line.lstrip().startswith("Usage:")).strip() + "\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_what_it_took(command: str) -> None:
    """Mend it, where the change is meant, with: python tests/test_help.py."""
    assert shown(command) == (HELP / f"{command}.txt").read_text()


def test_every_command_is_here() -> None:
    named = {command.name for command in app.registered_commands}
    named |= {f"probe-{name}" for name in ("norm-scale",)}
    assert named | {"mutransfer"} == {*COMMANDS}


if __name__ == "__main__":
    for name in COMMANDS:
        (HELP / f"{name}.txt").write_text(shown(name))
