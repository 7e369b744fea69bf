"""Answers to the training prompts that are sampled with other settings than the study's, for training on its prompts.

The student is trained on the study's own prompt, whatever prompt and sampling produced the answer. Answers under
another prompt are therefore off-policy.
"""

from typing import Any

from pydantic import Field

from orchestrator.stages import sample
from orchestrator.stages.builder import Builder
from orchestrator.stages.transforms import prompted
from orchestrator.store.stage import Stage
from orchestrator.study.prompts import ESCAPE, names_in_braces
from orchestrator.study.settings import Settings

IN_BRACES = {"prompt", "answer"}


class SamplingOptions(Settings):
    """The options of a condition that trains on such answers."""

    prompts: dict[str, Any] = Field(
        {},
        description="fields that differ from the study's prompts; a system message is for sampling, not for training",
    )
    sampling: dict[str, Any] = Field({}, description="fields that differ from the study's sampling")


def modified_sample(
    builder: Builder, alias: str, prompts: dict[str, Any], sampling: dict[str, Any], rephrase: str | None = None
) -> Stage | None:
    """A model's completions under changed prompts and sampling, rephrased by the model itself; None if nothing differs.

    Raises ValueError for an unknown field or a wrong value.
    """
    if not prompts and not sampling and rephrase is None:
        return None
    sampled = builder.sample(alias, prompts, sampling)
    system = builder.study.prompts.system
    if rephrase is not None:
        _check_template(rephrase)
        rephrased = sample.of_rephrased(builder.model(alias), builder.study, sampled, rephrase)
        inputs = {"data": rephrased, "prompts": sampled}
        return builder.transform(prompted.apply, inputs, system=system, prefix="")
    if "system" in prompts:
        return builder.transform(prompted.apply, {"data": sampled}, system=system, prefix="")
    return sampled


def _check_template(text: str) -> None:
    try:
        named = names_in_braces(text)
    except ValueError as error:
        raise ValueError(f"rephrase: {error}") from error
    if "answer" not in named or named - IN_BRACES:
        raise ValueError(
            f"rephrase: it names {', '.join(sorted(named)) or 'nothing'} in braces; it must name {{answer}}, and may "
            f"name {{prompt}}; {ESCAPE}"
        )
