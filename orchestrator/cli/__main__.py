"""`python -m mutransfer.orchestrator.cli` is the `mutransfer` command."""

from .app import main

main()
