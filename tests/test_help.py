"""The command line is a contract: what every command takes, as it was when it was last meant to change."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mutransfer.orchestrator.cli.app import app

HELP = Path(__file__).parent / "help"
COMMANDS = sorted(path.stem for path in HELP.glob("*.txt"))


def shown(command: str) -> str:
    words = [] if command == "mutransfer" else _words(command)
    environment = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "TERM": "dumb", "NO_COLOR": "1"}
    done = CliRunner(env=environment).invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    lines = (line.rstrip() for line in done.stdout.splitlines())
    return "\n".join(line for line in lines if not line.lstrip().startswith("Usage:")).strip() + "\n"


def _words(command: str) -> list[str]:
    """`probe-norm-scale` is the command norm-scale of the group probe."""
    groups = {group.name for group in app.registered_groups}
    group, _, rest = command.partition("-")
    return [group, rest] if group in groups else [command]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_what_it_took(command: str) -> None:
    """Mend it, where the change is meant, with: python tests/test_help.py."""
    assert shown(command) == (HELP / f"{command}.txt").read_text()


def test_every_command_is_here() -> None:
    named = {command.name for command in app.registered_commands}
    for group in app.registered_groups:
        inside = group.typer_instance.registered_commands if group.typer_instance else []
        named |= {f"{group.name}-{command.name}" for command in inside}
    assert named | {"mutransfer"} == {*COMMANDS}


if __name__ == "__main__":
    for name in COMMANDS:
        (HELP / f"{name}.txt").write_text(shown(name))
