"""Whether two answers in LaTeX are the same mathematics, by math-verify in a process of its own.

A model can write LaTeX on which symbolic algebra never ends, or takes all memory, and math-verify's own limits rest
on signals, which work only in a main thread. So it runs in a child process that answers one question at a time, and is
ended, and counted as "not the same", when it takes too long or too much.
"""

import atexit
import json
import select
import subprocess
import sys
import threading

SECONDS, GIBIBYTES = 10.0, 2
_lock = threading.Lock()
_judge: subprocess.Popen | None = None


def same_mathematics(gold: str, answer: str) -> bool:
    """Whether math-verify takes `answer` for `gold`; False where it cannot tell within bounds."""
    global _judge
    with _lock:
        if _judge is None or _judge.poll() is not None:
            _judge = _started()
        assert _judge.stdin is not None
        assert _judge.stdout is not None
        try:
            _judge.stdin.write(json.dumps([gold, answer]) + "\n")
            _judge.stdin.flush()
            answered = bool(select.select([_judge.stdout], [], [], SECONDS)[0])
            said = _judge.stdout.readline() if answered else ""
        except BrokenPipeError:
            said = ""
        if not said:
            _judge.kill()
            _judge = None
            return False
        return json.loads(said)


def _started() -> subprocess.Popen:
    judge = subprocess.Popen(
        [sys.executable, "-m", "evaluators.symbolic"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    atexit.register(judge.kill)
    assert judge.stdout is not None
    judge.stdout.readline()  # It has loaded what it needs, which is not to be taken from the first question's time.
    return judge


def _answer_questions() -> None:
    import resource

    import math_verify

    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))
    print("ready", flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        same = math_verify.verify(math_verify.parse(f"${gold}$"), math_verify.parse(f"${answer}$"))
        print(json.dumps(bool(same)), flush=True)


if __name__ == "__main__":
    _answer_questions()
