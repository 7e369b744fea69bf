"""Sampling for sixteen students of an 8B model on one GPU, simulated: all at once, beside one after the other.

    python -m perf.students_on_gpu

A simulation, from published times of one decoding step. Each student has 50 prompts, and its answers have lognormal
lengths. vLLM runs at most 256 sequences with 8 adapters in a step, the first that wait and whose adapter fits in. What
the simulation leaves out: prompts, loads of adapters, the cost of LoRA products, longer attention with longer answers.

Source of the step times: inter-token latency of Llama-3.1-8B-Instruct by concurrency, NVIDIA NIM 1.8.0
(docs.nvidia.com/nim/benchmarking/llm/1.0.0/performance), the first of its tables. vLLM's own benchmark on one H200 in
bfloat16 has 6.5 ms for 8 sequences (buildkite.com/vllm/performance-benchmark, build 9515) where this has 4.7. So on an
H200 both ways take longer by a like factor.
"""

from collections import Counter, deque

import numpy as np

from perf.students import PROMPTS, STUDENTS, answer_lengths

SEQUENCES, ADAPTERS = 256, 8
STEP_MS = {1: 4.63, 5: 4.58, 25: 5.19, 50: 5.91, 100: 7.57, 150: 9.81, 200: 12.65, 250: 16.1}
LENGTHS = {  # (mean and deviation of the logarithm, shortest, longest) in tokens
    "8 to 480 tokens": (3.6, 0.95, 8, 480),
    "100 to 16,000 tokens": (7.2, 1.0, 100, 16_000),
}


def seconds(waiting: list[tuple[int, int]]) -> float:
    """How long vLLM takes for (student, tokens) of each request, which all wait from the start."""
    queue, running, spent = deque(waiting), list[list[int]](), 0.0  # running: student, tokens left
    while queue or running:
        held, passed = Counter(student for student, _ in running), deque[tuple[int, int]]()
        while queue and len(running) < SEQUENCES:
            student, tokens = queue.popleft()
            if student not in held and len(held) == ADAPTERS:
                passed.append((student, tokens))
                continue
            held[student] += 1
            running.append([student, tokens])
        queue.extendleft(reversed(passed))
        steps = min(left for _, left in running)
        spent += steps * float(np.interp(len(running), list(STEP_MS), list(STEP_MS.values()))) / 1000
        running = [[student, left - steps] for student, left in running if left > steps]
    return spent


def main() -> None:
    print("| lengths of answers | one after the other | all at once | ratio |")
    print("|---|---|---|---|")
    for name, shape in LENGTHS.items():
        lengths = answer_lengths(STUDENTS * PROMPTS, *shape)
        answers = [(i // PROMPTS, length) for i, length in enumerate(lengths)]
        alone = sum(seconds([one for one in answers if one[0] == student]) for student in range(STUDENTS))
        together = seconds(answers)
        print(f"| {name} | {alone:,.0f} s | {together:,.0f} s | {alone / together:.2f} |")


if __name__ == "__main__":
    main()
