"""What happened in a sweep, in words: the journal line by line, or what the jobs of one trial printed."""

import time
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ..record.directory import DirectoryError, SweepDirectory
from ..record.journal import read_journal

LOOK_SECONDS = 0.5


def sweep_events(directory: SweepDirectory, follow: bool) -> Iterator[str]:
    """The journal as lines; with `follow`, on and on."""
    shown = 0
    while True:
        events = list(read_journal(directory.journal))
        yield from map(_line, events[shown:])
        shown = len(events)
        if not follow:
            return
        time.sleep(LOOK_SECONDS)


def trial_log(directory: SweepDirectory, name: str, follow: bool) -> Iterator[str]:
    """What the jobs with this trial (or job) id, or its beginning, printed; with `follow`, on and on.

    Raises DirectoryError where no trial or several have the name.
    """
    jobs = _jobs_named(directory, name)
    places: dict[Path, int] = {}
    while True:
        for path in map(directory.written_log, jobs):
            text, places[path] = _rest(path, places.get(path, 0))
            if text:
                yield text
        if not follow:
            return
        time.sleep(LOOK_SECONDS)


def the_one(
    directory: SweepDirectory, ids: Collection[str], name: str, one: str, several: str, remedy: str
) -> str:
    """The id that is called or begins so. Raises DirectoryError for none and for several."""
    matching = [name] if name in ids else [key for key in ids if key.startswith(name)]
    if len(matching) != 1:
        what = f"no {one}" if not matching else f"{len(matching)} {several}"
        raise DirectoryError(f"{directory.path}: {what} whose id begins with {name!r}; {remedy}")
    return matching[0]


def _jobs_named(directory: SweepDirectory, name: str) -> list[str]:
    planned = directory.planned()
    trials = {trial for ids in planned.values() for trial in ids}
    found = the_one(
        directory, {*planned, *trials}, name, "trial or job", "trials and jobs", "see mutransfer status"
    )
    return [job for job, ids in planned.items() if found == job or found in ids]


def _rest(path: Path, place: int) -> tuple[str, int]:
    try:
        with open(path, "rb") as file:
            file.seek(place)
            text = file.read()
    except FileNotFoundError:
        return "", place
    return text.decode(errors="replace"), place + len(text)


def _line(event: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(event["time"]).strftime("%F %T")
    match event["event"]:
        case "run":
            said = f"driver {event['lease']}: process {event.get('pid')}, backend {event.get('backend')}"
        case "submitting":
            said = f"asking for {len(event['jobs'])} jobs as {event['name']}"
        case "submitted":
            handle = f" as {event['handle']}" if event["handle"] else ""
            said = f"{event['backend']} has {_jobs(event['jobs'])}{handle}"
        case "refused":
            said = f"{event['name']} was not taken"
        case "returned":
            said = f"{_jobs(event['jobs'])} left unfinished"
        case "ended":
            reason = f": {event['reason']}" if event["reason"] else ""
            said = (
                f"job {event['job']} attempt {event['attempt']} {event['kind']}{reason} "
                f"({event['seconds']:.1f} s, {event['where'] or 'nowhere'}) -> {event['action']}"
            )
        case "split":
            said = f"job {event['job']} split into {', '.join(event['into'])}"
        case _:
            said = f"stopped: {event.get('reason', '')}"
    return f"{at}  {said}\n"


def _jobs(ids: list[str]) -> str:
    return f"job {ids[0]}" if len(ids) == 1 else f"{len(ids)} jobs"
