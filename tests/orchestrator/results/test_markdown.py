"""The hypotheses of a report as Markdown."""

import json
import subprocess
import sys
from dataclasses import asdict

from evaluators.analysis.statistics import Interval
from orchestrator.results.markdown import tables
from orchestrator.results.model import HypothesisResult

ONE = HypothesisResult(
    experiment=1,
    source="post",
    claim="maths | scores fall",
    student="student",
    teacher="words",
    metric="score",
    benchmark="maths",
    compared="off-model",
    versus="untrained",
    group_by=None,
    expected="same",
    margin=0.05,
    values=(0.5, 1.0),
    effect=Interval(-0.5, -0.6, -0.4),
    n=20,
    seeds=[1, 2],
    outcome="contradicted",
    note="",
)
MISSING = HypothesisResult(
    **{
        **vars(ONE),
        "experiment": None,
        "source": "ours",
        "claim": "c",
        "expected": "lower",
        "margin": None,
        "metric": "perplexity",
        "values": None,
        "effect": None,
        "n": 0,
        "outcome": "not measured",
        "note": "a trial has not finished",
    }
)
PRINTED = """\
| source | supported | inconclusive | contradicted | not measured |
| --- | --- | --- | --- | --- |
| post | 0 | 0 | 1 | 0 |
| ours | 0 | 0 | 0 | 1 |

| experiment | source | hypothesis | compared | with | pair | expected | values | effect, 95 % interval | outcome |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 1 | post | maths \\| scores fall | off-model on maths | untrained | student / words | same ± 0.05 | 0.500, 1.000 | \
-0.500 [-0.600, -0.400] | contradicted |
|  | ours | c | off-model on maths | untrained | student / words | lower |  |  | not measured |"""


def test_counts_by_source_and_a_line_for_each_hypothesis():
    assert tables([ONE, MISSING]) == PRINTED


def test_the_command_reads_the_results_of_a_report(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"hypotheses": [asdict(ONE), asdict(MISSING)]}))
    command = [sys.executable, "-m", "orchestrator.results.markdown", str(file)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{PRINTED}\n"
