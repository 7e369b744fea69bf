"""The benchmarks, one file each. A benchmark module has

- `VERSION`: raised when it grades otherwise;
- `HUB`: its data set on the hub, as (id, configuration, split);
- `COLUMNS`: the columns that it needs;
- `PROMPT`, `MAX_TOKENS`: how a row is asked by default, and how long an answer may be;
- `LIBRARIES`: what its grades depend on beside its own code;
- `VOTES`: whether its answers have a part that a majority can vote on;
- `fields(row)`: what `PROMPT` may name in braces;
- `check(row)`: raises ValueError where a row could not be graded, as for a gold answer that cannot be read;
- `grade(row, text)`: a `Verdict` on an answer;
- `group(row)`: the parts that scores are also shown by, as {"level": 3}.
"""

from evaluators.benchmarks import ifeval, math500, mmlu, olympiadbench

BENCHMARKS = {"math500": math500, "mmlu": mmlu, "ifeval": ifeval, "olympiadbench": olympiadbench}
MULTIPLE_CHOICE = {"mmlu": mmlu.LETTERS}  # what may be chosen from by its likelihood
FIGURES = {"ifeval": ifeval.figures}  # further scores that are made of all verdicts
