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

MAX_NODES = 100_000  # values of a study file


def without_secrets(uri: str) -> str:
    """A URI as it may be shown: without the user and password that URIs of databases and buckets may hold."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else uri


class _Loader(yaml.SafeLoader):
    """Refuses what YAML takes and no study means: a key given twice (YAML keeps the last value), an anchor that
    contains itself or is repeated very often, and control characters or surrogates written as escapes."""

    def __init__(self, text: str):
        super().__init__(text)
        self._nodes = 0
        self._sizes: dict[str, int] = {}  # nodes of each anchor, once it is complete

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event, before = self.peek_event(), self._nodes
        is_alias, anchor = isinstance(event, yaml.AliasEvent), event.anchor
        if is_alias and anchor in self.anchors and anchor not in self._sizes:
            raise StudyError(f'"*{anchor}" is part of what it repeats{_line(event)}: write the values out')
        self._nodes += self._sizes.get(anchor, 1) if is_alias else 1
        if self._nodes > MAX_NODES:
            raise StudyError(f"has more than {MAX_NODES:,} values{_line(event)}, repetitions by * included")
        node = super().compose_node(parent, index)
        if anchor is not None and not is_alias:
            self._sizes[anchor] = self._nodes - before
        if isinstance(node, yaml.ScalarNode) and (found := self.NON_PRINTABLE.search(node.value)):
            raise StudyError(f"the character {found[0]!a}{_line(node)} cannot be printed: leave it out")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise StudyError(f'"{key.value}" is given twice, in lines {lines[key.value]} and {line}: leave one out')
            lines[key.value] = line
        return node


def _line(at: Any, mark: str = "start_mark") -> str:
    return f" in line {getattr(at, mark).line + 1}"


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study file, apply `key.subkey=value` overrides (values in YAML), and validate it. Raises StudyError."""
    try:
        study = Study.model_validate(read_study(path, overrides))
        found = list(mistakes_in(study))
    except ValidationError as error:
        found = mistakes(error, "")
    if found:
        raise StudyError("\n".join(f"{path}: {line}" for line in found))
    return study


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a study file says, with overrides, before it is validated. Raises StudyError."""
    try:
        content = Path(path).read_bytes()
        text = content.decode()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StudyError(f"{path}, line {line}: not UTF-8 ({error.reason}): save the file as UTF-8") from error
    data = _parsed(text, str(path))
    if data is None:
        raise StudyError(f"{path}: the file is empty; a first study is in README.md, and others are in experiments/")
    if not isinstance(data, dict):
        raise StudyError(f"{path}: a study is a mapping of keys to values; see experiments/ for examples")
    for override in overrides:
        _override(data, override)
    return data


def _parsed(text: str, where: str) -> Any:
    """The value of a text in YAML. Raises StudyError."""
    try:
        return yaml.load(text, _Loader)
    except StudyError as error:
        raise StudyError(f"{where}: {error}") from None
    except RecursionError:
        raise StudyError(f"{where}: is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        raise StudyError(f"{where}: not valid YAML{_line(error, 'problem_mark')}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # PyYAML raises all of these.
        raise StudyError(f"{where}: not valid YAML: {error}") from error


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
        data[last] = _parsed(value, f'override "{override}"')
    except StudyError as error:
        if isinstance(error.__cause__, yaml.YAMLError):
            raise StudyError(f"{error}; quote it for the shell") from error
        raise
    provenance.override(study, keys)
