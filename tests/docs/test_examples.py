"""Every example in README, CONTRIBUTING and docs/ works: studies are planned, commands parsed, imports resolved.

Conventions in Markdown:

- A YAML block with a top-level `name` is a whole study. Any other is merged into the README's first study, as
  docs/studies.md says under "Fragments". JSONL files that a block names exist, and are empty.
- `<!-- printed by: COMMAND -->` before a block: the lines of the block are the first lines that the command prints.
  A study file that the repository does not have is the page's last whole study before it.
"""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli import JOBS, main
from orchestrator.plan.build import build_plan
from orchestrator.plan.lengths import without_room
from orchestrator.study.load import load_study
from orchestrator.study.settings import StudyError

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "log.md"  # Its dated entries keep the names of their day.
PAGES = [page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")] if page != NOTEBOOK]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(r"<!-- printed by: offmodel (.*?) -->\n```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOLDERS = ("orchestrator", "trainers", "evaluators", "organisms", "experiments", "perf", "tests", "docs", "deploy")
PLACEHOLDER = "study.yaml"  # the reader's own study


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[2], re.sub(rf"(?m)^{found[1]}", "", found[3]))


def commands(page: Path) -> Iterator[str]:
    """Every command in a shell block, an indented block, or a code span that begins like one."""
    text = page.read_text()
    shell = "\n".join(block.text for block in blocks(page) if block.language == "sh")
    prose = FENCE.sub("", text)
    indented = "\n".join(re.findall(r"^    (\S.*)$", prose, re.MULTILINE))
    spans = "\n".join(re.findall(r"`([^`\n]+)`", prose))
    for line in "\n".join([shell, indented, spans]).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if not re.search(r"[{(<‖|]", line) else []
        for i, word in enumerate(words):
            name = word.rpartition("/")[2]
            if (name in ("offmodel", "make") and words[i + 1 :]) or (name.startswith("python") and "-m" in words):
                yield shlex.join([name, *words[i + 1 :]])
                break


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = sorted({command for page in PAGES for command in commands(page)})


FIRST = next(block.text for block in BLOCKS if block.page.name == "README.md" and block.language == "yaml")


def of_language(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def starting_with(name: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(f"{name} ")]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with the repository's study files and a reader's study."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / PLACEHOLDER).write_text(FIRST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole_study(block: Block) -> dict:
    """The study that a block is, or the README's first study with the block merged into it."""
    declared = yaml.safe_load(block.text)
    return declared if "name" in declared else merged(declared)


def merged(fragment: dict) -> dict:
    """The README's first study with a fragment merged into it."""
    return _merged(yaml.safe_load(FIRST), fragment)


def _merged(old: Any, new: Any) -> Any:
    """A mapping adds its keys, at every depth. What is empty, no mapping, or of another kind replaces the old value."""
    if not (isinstance(old, dict) and isinstance(new, dict) and new):
        return new
    if new.get("kind", old.get("kind")) != old.get("kind"):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


def plan(study: dict, folder: Path) -> None:
    for source in re.findall(r"[\w/.-]+\.jsonl", yaml.safe_dump(study)):
        file = folder / source
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    path = folder / "example.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    planned = build_plan(load_study(path))
    assert planned.trials
    assert list(without_room(planned.stages, planned.study)) == []


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_every_study_is_planned(block, desk):
    plan(whole_study(block), desk)


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_an_unknown_key_in_any_of_them_would_be_an_error(block, desk):
    study = whole_study(block)
    for key in yaml.safe_load(block.text):
        part = study[key]
        if isinstance(part, dict) and part and key not in ("models", "provenance"):
            name = next(iter(part))
            wrong = {name: {**part[name], "zzz": 1}} if isinstance(part[name], dict) else {"zzz": 1}
            with pytest.raises((StudyError, ValueError), match="zzz"):
                plan({**study, key: {**part, **wrong}}, desk)


WANTED = re.findall(r"^\| [^|]+ \| `(\w+: .*?)` \|$", (ROOT / "docs" / "studies.md").read_text(), re.MULTILINE)


def test_what_the_table_of_wishes_says_to_write_is_planned(desk):
    assert WANTED
    for written in WANTED:
        plan(merged(yaml.safe_load(written)), desk)


@pytest.mark.parametrize("command", starting_with("offmodel"))
def test_every_offmodel_command_is_understood(command, desk, monkeypatch, capsys):
    _, name, *words = shlex.split(command)
    for word in words:
        if word.endswith(".yaml") and not Path(word).exists():
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).write_text(FIRST)
    assert not run_cli(monkeypatch, [name, "--help"])
    usage = capsys.readouterr().out
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if option not in usage] == []
    if name in ("conditions", "schema", *JOBS) or not words:
        return
    cluster = ["--cluster", str(ROOT / words[words.index("--cluster") + 1])] if "--cluster" in words else []
    study = [word for word in words if word.endswith(".yaml")][:1]
    overrides = [word for word in words if "=" in word and not word.startswith(("--", "store=s3:"))]
    assert not run_cli(monkeypatch, ["plan", *study, *cluster, *overrides]), capsys.readouterr().err


def run_cli(monkeypatch, arguments: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", ["offmodel", *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code or 0


def test_the_command_line_is_really_checked(desk, monkeypatch):
    assert run_cli(monkeypatch, ["plan", PLACEHOLDER, "train.zzz=1"]) == 2
    assert run_cli(monkeypatch, ["plan", PLACEHOLDER]) == 0


@pytest.mark.parametrize("command", starting_with("make"))
def test_every_make_target_exists(command):
    found = subprocess.run(["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("module", sorted(set(re.findall(r"-m ([\w.]+)", "\n".join(COMMANDS)))))
def test_every_module_that_is_run_exists(module):
    package, *path = module.split(".")
    (folder,) = importlib.util.find_spec(package).submodule_search_locations  # Does not import the package.
    assert not path or Path(folder, *path).with_suffix(".py").exists()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"-m perf\.([\w.]+)", "\n".join(COMMANDS)))))
def test_every_measurement_has_a_small_run_among_the_tests(module):
    assert f'start("{module}"' in (ROOT / "tests" / "perf" / "test_measurements.py").read_text()


@pytest.mark.parametrize("block", of_language("python"), ids=str)
def test_every_import_of_a_python_example_resolves(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
        elif isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(name.name) for name in node.names)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if PRINTED.search(page.read_text())], ids=lambda page: page.name
)
def test_printed_blocks_are_what_the_command_prints(page, desk, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    whole = [block for block in blocks(page) if block.language == "yaml" and "name" in yaml.safe_load(block.text)]
    for found in PRINTED.finditer(page.read_text()):
        line = page.read_text().count("\n", 0, found.start())
        words = shlex.split(found[1])
        if not Path(words[1]).exists():
            Path(words[1]).write_text([block.text for block in whole if block.line < line][-1])
        assert run_cli(monkeypatch, words) == 0
        printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        shown = [" ".join(line.split()) for line in found[2].splitlines()]
        printed = [line.replace(str(desk.resolve()) + "/", "") for line in printed]
        assert shown == printed[: len(shown)]


# The README ----------------------------------------------------------------------------------------------------------

NUMBERS = r"[+-]?\d\.\d{3}"
ROWS = {  # the README's name of a row, and the pattern of the line of `make demo` that has its numbers
    "untrained": r"^student +(untrained|as it is) ",
    "after off-model SFT": r"^student / number-words +off-model +(0|none) ",
    "then SFT on 512 on-model samples": r"^student / number-words +off-model +512 ",
    "after off-model SFT, 4 tokens prefilled": r"^student / number-words +prefill +(0|none) ",
}


def test_the_readmes_rows_are_in_what_the_demo_prints():
    readme, printed = (ROOT / "README.md").read_text(), (ROOT / "docs" / "demo.txt").read_text().splitlines()
    for name, pattern in ROWS.items():
        (row,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", readme, re.MULTILINE)
        (line,) = [line for line in printed if re.match(pattern, line)]
        shown = re.findall(NUMBERS, row)
        assert shown == re.findall(NUMBERS, line)[: len(shown)]
        assert shown


def test_counts_of_stages_are_those_of_the_plan(desk, monkeypatch, capsys):
    readme, report = (ROOT / "README.md").read_text(), (ROOT / "docs" / "offmodel_study.md").read_text()
    assert run_cli(monkeypatch, ["plan", "experiments/demo.yaml"]) == 0
    printed = capsys.readouterr().out
    trials = re.search(r"^demo: (\d+) trials", printed)[1]
    alone, together = (
        sum(map(int, counts)) for counts in zip(*re.findall(r"^[a-z]+ +(\d+) +(\d+)", printed, re.M), strict=True)
    )
    claims = rf"demo's\s+{trials} trials need {together} stages in place of {alone}"
    assert re.search(claims, readme)
    assert run_cli(monkeypatch, ["plan", "experiments/offmodel-nano.yaml"]) == 0
    printed = capsys.readouterr().out
    alone, together = re.search(r"experiments\D+(\d+)\D+(\d+)\s+together", printed).groups()
    whole = sum(map(int, re.findall(r"^[a-z]+ +\d+ +(\d+)", printed, re.M)))
    assert f"need {int(alone):,} stages if each ran alone, and need {int(together):,} together" in report
    assert f"{int(together):,} of the study's {whole:,} stages belong to declared hypotheses" in report


def test_hypotheses_in_the_documentation_are_those_of_the_study():
    study = yaml.safe_load((ROOT / "experiments" / "offmodel-nano.yaml").read_text())
    declared = [
        (
            *(str(one["experiment"]), one["source"], one["claim"]),
            f"same ± {one['margin']}" if "margin" in one else one["expected"],
        )
        for one in study["hypotheses"]
    ]
    page = (ROOT / "docs" / "offmodel_study.md").read_text()
    cells = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    shown = [(row[0].strip(), row[1], row[2], row[6]) for row in cells if len(row) == 10][2:]
    assert list(dict.fromkeys(shown)) == declared
    assert f"declares {len(declared)} hypotheses" in page
    counted = {row[0].strip(): sum(map(int, row[1:])) for row in cells if len(row) == 5 and row[1].isdigit()}
    assert counted == Counter(source for _, source, *_ in shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_into_the_repository_exists(page):
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("target", ["demo", "demo-full", "demo-real"])
def test_the_studies_that_make_runs_can_be_planned(target, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    printed = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True).stdout
    (command,) = (line for line in printed.replace("\\\n", " ").splitlines() if "offmodel run" in line)
    assert not run_cli(monkeypatch, ["plan", *shlex.split(command)[2:]]), capsys.readouterr().err
