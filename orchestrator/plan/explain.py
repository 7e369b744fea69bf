"""Why a stage is not already done: the finished stage most like it, and the fields in which the two differ."""

from typing import Any

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


def explain(stage: Stage, store: Store) -> list[str]:
    """Lines on a stage that is not done, field by field; a differing input is followed to what differs in it."""
    return list(_Explainer(store).lines(stage, ""))


class _Explainer:
    def __init__(self, store: Store):
        self._store = store
        self._kinds: dict[str, dict[str, dict]] = {}

    def lines(self, stage: Stage, indent: str):
        nearest = self._nearest(stage)
        if nearest is None:
            yield f"{indent}no stage of the kind {stage.kind} has ever been done in this store"
            return
        address, differing = nearest
        yield f"{indent}most like {address}, which differs in:"
        for field, (here, there) in sorted(differing.items()):
            role = field.removeprefix("inputs.")
            if field.startswith("inputs.") and role in stage.inputs:
                needed = stage.inputs[role]
                yield f"{indent}  input {role}: {needed.address}"
                if self._store.record(needed) is None:
                    yield from self.lines(needed, indent + "    ")
            else:
                yield f"{indent}  {field}: {_show(here)} here, {_show(there)} there"

    def _nearest(self, stage: Stage) -> tuple[str, dict[str, tuple]] | None:
        if stage.kind not in self._kinds:
            self._kinds[stage.kind] = self._store.records_of_kind(stage.kind)
        here = flatten(stage.identity)
        candidates = []
        for address, record in self._kinds[stage.kind].items():
            there = flatten(record["identity"])
            fields = {f for f in here.keys() | there.keys() if here.get(f, ABSENT) != there.get(f, ABSENT)}
            named_alike = address.rsplit("-", 1)[0] == stage.address.rsplit("-", 1)[0]
            differing = {f: (here.get(f, ABSENT), there.get(f, ABSENT)) for f in fields}
            candidates.append((len(fields), not named_alike, address, differing))
        if not candidates:
            return None
        *_, address, differing = min(candidates, key=lambda candidate: candidate[:3])
        return address, differing


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; tuples as lists, as JSON has them."""
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in flatten(item, f"{prefix}{key}.").items()}
    return {prefix[:-1]: list(value) if isinstance(value, tuple) else value}
