"""All of the export, as YAML and as JSON."""

import io
import json

from ruamel.yaml import YAML

from ....models.handover.values import Handed
from .shared import Formatted


def as_json(handed: Handed) -> Formatted:
    return Formatted(json.dumps(handed, indent=1, allow_nan=False) + "\n")


def as_yaml(handed: Handed) -> Formatted:
    """What readers of YAML 1.1, as PyYAML is, and of 1.2 read alike: `no` is quoted, 1.0e-08 has a point."""
    text = io.StringIO()
    yaml = YAML()
    yaml.version = "1.1"
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(handed), text)
    return Formatted(text.getvalue().partition("---\n")[2])
