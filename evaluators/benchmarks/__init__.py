"""The benchmarks: every module of this package is one. A new file is all that a new benchmark needs. It has

- `VERSION`: to be raised when its grading changes;
- `HUB`: its data set on the Hugging Face hub, as (id, configuration, split), and `ROWS`, the number of rows there.
  Both are needed, also if studies give a `source` of their own;
- `COLUMNS`: the columns that it needs, with their types, as {"problem": str};
- `PROMPT`: the default prompt, with names of `fields` in braces, and `MAX_TOKENS`, the default limit of a completion;
- `check(row)`: raises ValueError for a row that cannot be graded; UnreadableGold if its gold answer cannot be read, so
  that a study may skip it;
- `grade(row, text)`: the `Verdict` on a completion.

It may also have

- `OPTIONS`: of multiple choice, the texts, one token each, whose log-probabilities can be compared;
- `VOTES`: whether its completions contain an answer for majority voting; by default they do not;
- `LIBRARIES`: the packages whose versions change its grades;
- `TRAIN`: another split of its data set, none of whose rows is an example, for the problems of RL;
- `fields(row)`: the values for the names in `PROMPT`, by default the row's columns;
- `group(row)`: the groups that scores are also reported by, such as {"level": 3};
- `further_scores(verdicts)`: further scores over all verdicts, such as IFEval's loose accuracies.
"""

from evaluators.plugins import Plugins

PARTS = ("VERSION", "HUB", "ROWS", "COLUMNS", "PROMPT", "MAX_TOKENS", "check", "grade")
DEFAULTS = {
    "OPTIONS": (),
    "VOTES": False,
    "LIBRARIES": (),
    "TRAIN": None,
    "fields": lambda row: row,
    "group": lambda row: {},
    "further_scores": lambda verdicts: {},
}
BENCHMARKS = Plugins("evaluators.benchmarks", "benchmark", PARTS, DEFAULTS)
