"""The kinds of programs that trials can run, by the names that job files use."""

from . import proxy
from .command import command, train
from .program import ProgramKind

PROGRAMS: dict[str, ProgramKind] = {
    "proxy": ProgramKind(proxy.Proxy.read, proxy.train),
    "command": ProgramKind(command.read, train.train),
}
