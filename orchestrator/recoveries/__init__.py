"""What restores a student's scores, one file each.

A recovery is a module of this package with

- `Options`: the keys that a study file may give it beside those of every `Recovery`;
- `SPENT`: what a budget counts;
- `recover(builder, start, budget, recovery, options)`: the stage that trains the student of `start` further with that
  budget; `recovery` has the keys of every recovery, as the list of all budgets.

A study names its recoveries freely: one kind may be tried in several ways.
"""

from evaluators.plugins import Plugins
from orchestrator.study.recoveries import Recovery
from orchestrator.study.settings import Settings, parsed

RECOVERIES = Plugins(__name__, "recovery", ("Options", "SPENT", "recover"))


def options(name: str, recovery: Recovery) -> Settings:
    """The options of a study's recovery, as its module declares them. Raises ValueError, a line for each mistake."""
    try:
        declared = RECOVERIES.module(recovery.kind).Options
    except ValueError as error:
        raise ValueError(f"recoveries.{name}.kind: {error}") from error
    return parsed(declared, recovery.options, f"recoveries.{name}", Recovery.model_fields)
