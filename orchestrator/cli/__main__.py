"""`python -m mutransfer.orchestrator.cli` is the `mutransfer` command."""

from . import main

main()
