"""What a training minimises, one file each.

An objective is a module of this package with `OBJECTIVE`, an `Objective` (`trainers/objective.py`): its loss, and what
it needs of a training. The docstring of its options has an item "- `name`: meaning;" for each. Code outside the module
reads these needs and never compares names.
"""

from evaluators.plugins import Plugins
from trainers.objective import Objective

OBJECTIVES = Plugins(__name__, "objective", ("OBJECTIVE",))


def get(name: str) -> Objective:
    """One objective. Raises ValueError, with a suggestion, for an unknown name."""
    return OBJECTIVES.module(name).OBJECTIVE
