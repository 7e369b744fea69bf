"""Study files: read, with overrides, into a validated study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.study import provenance
from orchestrator.study.references import mistakes_in
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError, mistakes


def without_secrets(uri: str) -> str:
    """A URI as it may be shown: without the user and password that URIs of databases and buckets may hold."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else uri


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML silently keeps the last value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise StudyError(f'"{key.value}" is given twice, in lines {lines[key.value]} and {line}: leave one out')
            lines[key.value] = line
        return node


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study file and apply `key.subkey=value` overrides (values in YAML). Raises StudyError."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        data = yaml.load(text, _Loader)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not valid YAML: {error}") from error
    if data is None:
        raise StudyError(f"{path}: the file is empty; a first study is in README.md, and others are in experiments/")
    if not isinstance(data, dict):
        raise StudyError(f"{path}: a study is a mapping of keys to values; see experiments/ for examples")
    for override in overrides:
        _override(data, override)
    try:
        study = Study.model_validate(data)
        found = list(mistakes_in(study))
    except ValidationError as error:
        found = mistakes(error, "")
    if found:
        raise StudyError("\n".join(f"{path}: {line}" for line in found))
    return study


def _override(data: dict[str, Any], override: str) -> None:
    keys, separator, value = override.partition("=")
    if not separator:
        raise StudyError(f'"{override}" is not an override: write key.subkey=value')
    if keys != keys.strip() or value.startswith(" "):
        raise StudyError(f'"{override}": write {keys.strip()}={value.strip()}, without blanks around =')
    *parents, last = keys.split(".")
    study = data
    for key in parents:
        if data.get(key) is None:
            data[key] = {}
        data = data[key]
        if not isinstance(data, dict):
            raise StudyError(f'override "{override}": {key} is not a mapping; replace all of it')
    try:
        data[last] = yaml.load(value, _Loader)
    except StudyError as error:
        raise StudyError(f'override "{override}": {error}') from None
    except yaml.YAMLError as error:
        raise StudyError(
            f'override "{override}": {value} is not YAML ({str(error).splitlines()[0]}); quote it for the shell'
        ) from error
    provenance.override(study, keys)
