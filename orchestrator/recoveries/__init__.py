"""What brings a student back, one file each.

A recovery method is a module of this package with

- `SPENT`: what a budget counts;
- `recover(builder, start, budget, recovery)`: the stage that trains the student of `start` further, with `budget` of that,
  as a study's `recovery` has it.

A study names its recoveries as it likes: the same method may be tried in several ways.
"""

from evaluators.plugins import Plugins

RECOVERIES = Plugins(__name__, "recovery")
