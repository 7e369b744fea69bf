"""The benchmarks, one file each. A benchmark module has

- `HUB`: its data set on the hub, as (id, configuration, split);
- `COLUMNS`: the columns that it needs;
- `PROMPT`, `MAX_TOKENS`: how a row is asked by default, and how long an answer may be;
- `fields(row)`: what `PROMPT` may name in braces;
- `grade(row, text)`: a `Verdict` on an answer;
- `group(row)`: the parts that scores are also shown by, as {"level": 3}.
"""

from evaluators.benchmarks import ifeval, math500, mmlu, olympiadbench

BENCHMARKS = {"math500": math500, "mmlu": mmlu, "ifeval": ifeval, "olympiadbench": olympiadbench}
