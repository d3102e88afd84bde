"""All of the export, as YAML and as JSON."""

import io
import json

from ruamel.yaml import YAML

from ....models.handover.values import Handed
from .shared import Formatted


def as_json(handed: Handed) -> Formatted:
    return Formatted(json.dumps(handed, indent=1, allow_nan=False) + "\n")


def as_yaml(handed: Handed) -> Formatted:
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(handed), text)
    return Formatted(text.getvalue())
