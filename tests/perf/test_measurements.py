"""Every measurement runs in a small form."""

import json
import random
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def start(module: str, *arguments: str) -> str:
    """What `python -m perf.MODULE` prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"perf.{module}", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_scale(tmp_path):
    printed = start("scale", "--trials", "20", "40", "--figure", str(tmp_path / "scale.png"))
    for trials in (20, 40):
        assert f"{trials} trials, " in printed
    steps = re.findall(r"^  (.+): [\d.]+ s, [\d,]+ MiB$", printed, re.MULTILINE)
    assert steps == ["plan", "run", "cached run", "report"] * 2
    assert re.findall(r"^(.+): exponent -?[\d.]+ of time", printed, re.MULTILINE) == steps[:4]
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_faults_of_studies():
    small = ["pairs.teachers=[number-words]", "prompts.n=64", "conditions={off-model: }", "recoveries={}", "seeds=[7]"]
    benchmarks = "benchmarks={maths: {kind: math500, source: synthetic, n: 20, max_tokens: 96}}"
    printed = start("faults.studies", "1", "0", *small, benchmarks)
    assert re.search(r"^seed 0: SIG\w+ to .* when [1-9]", printed, re.MULTILINE)
    assert printed.endswith("1 histories from seed 0: 0 with violations\n")


def test_faults_of_stores():
    printed = start("faults.stores", "4")
    assert printed.startswith("4 histories from seed 0: 0 with violations; faults: ")


def test_faults_of_engines():
    printed = start("faults.engines", "4")
    assert (
        len(re.findall(r": 4 requests, each answered once, 4 as undisturbed, errors: none$", printed, re.MULTILINE))
        == 3
    )
    assert re.search(
        r"^a request kills its engine: 4 requests, each answered once, 3 as undisturbed", printed, re.MULTILINE
    )


def test_replicas():
    printed = start("replicas", "1", "--requests", "100")
    assert "100.0% of the answers are equal" in printed
    ratios = re.findall(r"^two (.+): [\d.]+ times the throughput of one$", printed, re.MULTILINE)
    assert ratios == ["of a study", "without Ray"]


def test_engine_starts():
    printed = start("engine_starts", "--small")
    assert re.search(r"^one engine for all: [\d.]+ times as fast$", printed, re.MULTILINE)


def test_faults_of_two_drivers():
    seed = str(random.SystemRandom().randrange(10**9))
    printed = start("faults.drivers", "1", seed)
    assert printed.endswith(f"1 histories of two drivers from seed {seed}: 0 with violations\n")


def test_train():
    printed = start("train", "0", "--small")
    rows = {
        cells[1].strip(): cells[2:-1] for cells in (line.split("|") for line in printed.splitlines() if "|" in line)
    }
    assert rows.keys() >= {"offmodel", "TRL, 4 x 8 rows, sorted", "TRL, packed *"}
    first_loss = list(rows[""]).index(" first loss ")
    ours, theirs = (float(rows[who][first_loss]) for who in ("offmodel", "TRL, 4 x 8 rows, sorted"))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_cpu_lora():
    printed = start("cpu_lora", "1", "--small")
    (equal,) = re.findall(r"^([\d.]+)% of the tokens are equal$", printed, re.MULTILINE)
    assert float(equal) > 99  # float32 rounds differently, so greedy tokens can part at a near tie
    assert re.search(r"^with an adapter, [\d.]+ times the throughput \(median of 1 pairs\)$", printed, re.MULTILINE)


def test_students():
    printed = start("students", "1", "--small")
    assert "100.0% of the answers are equal in all three" in printed
    assert len(re.findall(r"^all students at once: [\d.]+ times the throughput of ", printed, re.MULTILINE)) == 2


def test_students_on_a_gpu():
    rows = start("students_on_gpu").splitlines()[2:]
    assert len(rows) == 2
    assert all(re.fullmatch(r"\| .+ tokens \| [\d,]+ s \| [\d,]+ s \| \d\.\d\d \|", row) for row in rows)


def test_autoscaling():
    printed = start("autoscaling", "--seconds", "1", "--workers", "1")
    assert "20 trainings of 1 s on up to 1 workers, and none at the end" in printed


def test_spot_week():
    printed = start("spot_week", "--seeds", "1", "--prompts", "640", "--study-seeds", "1")
    rows = {cells[1].strip(): cells[2:-1] for cells in (line.split("|") for line in printed.splitlines()[3:])}
    assert len(rows) == 10
    assert all(float(cells[1]) >= 1 for name, cells in rows.items() if name.startswith("ours"))


def test_hugging_face():
    printed = start("hugging_face", "1", "--requests", "20")
    assert len(re.findall(r"^generate, batch size \d+: [\d,]+ tokens/s$", printed, re.MULTILINE)) == 4
    assert re.search(r"^the engine: [\d.]+ times the throughput of generate at batch size \d+$", printed, re.MULTILINE)


def test_sampling():
    printed = start("sampling", "1", "--small")
    assert re.findall(r"^(.+): \d+ calls, \d+ requests$", printed, re.MULTILINE) == [
        "completions",
        "log-probabilities",
        "16 samples",
    ]
    cpu = re.findall(r"bare vLLM, ([\d.]+) times the CPU time$", printed, re.MULTILINE)
    assert len(cpu) == 3
    assert all(float(ratio) > 0 for ratio in cpu), "the CPU time of the replica was not found"
    equal = re.findall(r"^  ([\d.]+)% of the answers are equal$", printed, re.MULTILINE)
    assert all(float(share) > 99 for share in equal)  # float32 rounds differently in other batches


def test_the_share_of_the_peak():
    printed = start("train", "--mfu", "--shape", "tiny")
    assert len(re.findall(r"on (CPU|NVIDIA.*): [\d,]+ tokens/s, [\d.e-]+ TFLOP/s", printed)) == 2


def test_coverage():
    printed = start("coverage", "2")
    assert re.findall(r"all (\d+) designs", printed) == ["14", "14", "9", "9", "6", "4", "5"]


def test_recovery_budget():
    rows = start("recovery_budget", "1").splitlines()[2:]
    assert len(rows) == 24
    assert {row.split("|")[2].strip() for row in rows} == {"all", "search"}


def test_grid_variance():
    rows = start("grid_variance", "3").splitlines()[2:]
    assert len(rows) == 13
    assert all(re.fullmatch(r"\| .+ \|( \d\.\d{3} \|){3}( \d\.\d\d \|){3}( \d\.\d{3} \|){2}", row) for row in rows)


def test_grading(tmp_path, monkeypatch):
    answers = ["3", "\\frac{1}{2}", "(1, 2)", "x + 1"]
    math500 = [
        {"problem": "?", "solution": f"It is $\\boxed{{{answer}}}$.", "answer": answer, "unique_id": str(i)}
        | {"subject": "Algebra", "level": 1}
        for i, answer in enumerate(answers)
    ]
    olympiadbench = [
        {"id": i, "question": "?", "solution": ["?"], "final_answer": [f"${answer}$"], "subfield": "Algebra"}
        | {"answer_type": "Numerical", "unit": None, "error": None, "is_multiple_answer": False}
        for i, answer in enumerate(answers)
    ]
    for name, rows in (("math500", math500), ("olympiadbench", olympiadbench)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.setenv("OFFMODEL_REAL_DATA", str(tmp_path))
    printed = start("grading", "50")
    assert "| math500.jsonl | 4 | 4 | 4 |" in printed
    assert "solutions of MATH-500: 4 of 4 correct" in printed
    assert "| lm-eval's sentence | 3 | 3 | 3 |" in printed
