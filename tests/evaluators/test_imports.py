"""Imports inside functions: one at a time where two threads of a process may reach them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where no two threads import, by file or folder.
ONE_THREAD = {
    "orchestrator/cli.py": "the main thread, before others start",
    "orchestrator/run/preflight.py": "the main thread, before others start",
    "orchestrator/serving": "the main thread, whose event loop is the only one that works",
    "orchestrator/stages/ray_train.py": "a process of its own, of which one thread trains",
    "orchestrator/stages/update.py": "a process of its own",
    "orchestrator/stages/weights.py": "a process of its own",
    "evaluators/engines/split.py": "the one thread of an engine",
    "evaluators/engines/vllm_engine.py": "the one thread of an engine",
    "evaluators/engines/worker.py": "the one thread of an engine's process",
    "evaluators/lm_eval_tasks": "the main thread, or a child process for each task",
}
LOADED = {"ray", "ray.exceptions", "ray.tune"}  # by orchestrator/run/trial.py and stage_runner.py, at their top


def unlocked(node: ast.AST, in_function: bool = False) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports inside functions that are not under IMPORTS."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.With) and any(ast.unparse(item.context_expr) == "IMPORTS" for item in child.items):
            continue
        if in_function and isinstance(child, ast.Import | ast.ImportFrom) and not names(child) <= LOADED:
            yield child
        yield from unlocked(child, in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def names(one: ast.Import | ast.ImportFrom) -> set[str]:
    found = {each.name for each in one.names}
    if isinstance(one, ast.Import):
        return found
    return {f"ray.{name}" for name in found} if one.module == "ray" else {str(one.module)}


def test_imports_inside_functions_are_under_the_lock():
    files = [path for folder in ("orchestrator", "evaluators") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(tuple(ONE_THREAD)):
            found += [f"{name}:{one.lineno}" for one in unlocked(ast.parse(path.read_text()))]
    assert found == [], "write `with IMPORTS:` around them (evaluators/imports.py)"


def test_the_list_of_files_with_one_thread_has_no_others():
    for name in ONE_THREAD:
        paths = [ROOT / name, *(ROOT / name).rglob("*.py")]
        assert any(list(unlocked(ast.parse(path.read_text()))) for path in paths if path.is_file()), name
