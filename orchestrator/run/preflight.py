"""All that can be known to be wrong before any work starts, each as one message that says what to change."""

import json
from collections.abc import Iterator
from pathlib import Path

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import SWITCH
from evaluators.evaluate import chats_of
from orchestrator.plan import hypotheses
from orchestrator.plan.trial import Plan
from orchestrator.plan.workload import steps_of
from orchestrator.run import tracking
from orchestrator.stages import api_models, data
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store, sha256_file
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, benchmark_of
from orchestrator.study.models import LocalModel, Model, OrganismModel
from orchestrator.study.prompts import Prompts
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError
from organisms import shipped

WEIGHTS = ("model", "train", "weights")
TEMPLATES = ("chat_template.jinja", "tokenizer_config.json")


def check(plan: Plan, store: Store, records: dict[Stage, dict]) -> None:
    """Raise StudyError for the first thing that would make a run of this plan fail."""
    try:
        store.check_writable()
        tracking.check_answers(tracking.tracking_uri(plan.study))
        prompts = _check_prompts(plan)
        pending = {getattr(stage.runtime, "name", None) for stage in plan.stages if stage not in records}
        asked = {name: _check_benchmark(name, b) for name, b in plan.study.benchmarks.items() if name in pending}
        asked |= _check_asked_otherwise(plan, records)
        problems = _check_problems(plan.study)
        hypotheses.check_parts(plan.study)
        folders: list[Path] = []
        to_ask = {stage.runtime.engine for stage in plan.stages if stage.kind == "sample" and stage not in records}
        for alias, model in plan.study.models.items():
            if alias in to_ask:
                api_models.check_key(alias, model)
            folder = _check_model(alias, model)
            if folder is not None:
                folders.append(folder)
                _check_tokens(plan.study, alias, folder, {"prompts": prompts, "problems": problems, **asked})
        _check_thinking(plan.study, folders)
        _check_trainings(plan, records)
        _check_weights(plan, store, records)
    except StudyError:
        raise
    except ValueError as error:
        raise StudyError(str(error)) from error


def _check_prompts(plan: Plan) -> list[str]:
    chats = data.read_prompts(plan.study.prompts)
    for step in (step for trial in plan.trials for step in trial.steps if step.recovery):
        rows = (step.student.settings.get("rows") if step.student is not None else None) or 0
        if rows > len(chats):
            raise StudyError(
                f"recoveries.{step.recovery}.budgets: {rows} samples are asked for, but the {len(chats)} prompts give "
                f"{len(chats)}: lower the budget, or raise prompts.n"
            )
    return [" ".join(message["content"] for message in chat) for chat in chats]


def _check_asked_otherwise(plan: Plan, records: dict[Stage, dict]) -> dict[str, list[str]]:
    """The prompts that conditions have in place of the study's, for training or of a benchmark."""
    study, texts = plan.study, {}
    pending = [stage for stage in plan.stages if stage.kind == "sample" and stage not in records]
    for stage in pending:
        declared = stage.runtime.get("prompts")
        if declared is not None and Prompts(**declared) != study.prompts:
            chats = data.read_prompts(Prompts(**declared))
            texts[f"prompts of {stage.address}"] = [" ".join(message["content"] for message in chat) for chat in chats]
    for name, before in study.benchmarks.items():
        hows = (benchmark_of(s.runtime["benchmark"]) for s in pending if s.runtime.get("name") == name)
        if not isinstance(before, GradedBenchmark):
            continue
        otherwise = {(how.prompt, how.system): how for how in hows if isinstance(how, GradedBenchmark)}
        otherwise.pop((before.prompt, before.system), None)
        for number, how in enumerate(otherwise.values(), 1):
            texts[f"{name}, asked otherwise ({number})"] = _check_benchmark(name, how)
    return texts


def _check_benchmark(name: str, benchmark: Benchmark) -> list[str]:
    try:
        if benchmark.task is not None:
            from evaluators import lm_eval_tasks

            lm_eval_tasks.check(benchmark.task)
            return []
        assert isinstance(benchmark, GradedBenchmark)
        rows = data.read_benchmark(benchmark)
        for row in rows:
            BENCHMARKS.module(benchmark.kind).check(row)
        chats = chats_of(benchmark.kind, rows, benchmark.prompt, benchmark.system)
        return [" ".join(message["content"] for message in chat) for chat in chats]
    except ValueError as error:
        raise StudyError(f"benchmarks.{name}: {error}") from error


def _check_problems(study: Study) -> list[str]:
    """Problems whose answers can be graded, none of which a benchmark of the study asks."""
    problems = study.rl_problems
    if problems is None:
        return []
    try:
        rows = data.read_problems(problems)
        for row in rows:
            BENCHMARKS.module(problems.kind).check(row)
        chats = chats_of(problems.kind, rows, problems.prompt, problems.system)
        trained_on = {chat[-1]["content"] for chat in chats_of(problems.kind, rows, None)}
    except ValueError as error:
        raise StudyError(f"problems: {error}") from error
    for name, benchmark in study.benchmarks.items():
        if benchmark.kind == problems.kind:
            asked = chats_of(problems.kind, data.read_benchmark(benchmark), None)
            both = [chat for chat in asked if chat[-1]["content"] in trained_on]
            if both:
                raise StudyError(
                    f"problems: {len(both)} of them are examples of benchmarks.{name} too, so that its score would be "
                    f"of what was trained on: leave them out of {problems.source}"
                )
    return [" ".join(message["content"] for message in chat) for chat in chats]


def _check_trainings(plan: Plan, records: dict[Stage, dict]) -> None:
    """Checkpoints that trainings reach, and teachers whose tokens mean what the student's do."""
    for stage in plan.stages:
        if stage.kind != "train" or stage in records:
            continue
        at = stage.settings["stop_after"]
        steps = steps_of(stage, plan.study)
        if at is not None and at > steps:
            raise StudyError(f"train.checkpoints: {at} is beyond the {steps} steps that {stage.name} can have")
    for trial in plan.trials:
        students = [step.student for step in trial.steps if step.student is not None]
        itself = {answered.inputs["answers"].inputs["base"] for answered in trial.original.values()}
        if {student.inputs["teacher"] for student in students if "teacher" in student.inputs} - itself:
            _check_same_tokens(plan.study, trial.student, trial.teacher)


def _check_same_tokens(study: Study, student: str, teacher: str) -> None:
    files = [_tokenizer_of(study.models[alias]) for alias in (student, teacher)]
    if None not in files and _vocabulary(files[0]) != _vocabulary(files[1]):
        raise StudyError(
            f"pairs: {student} and {teacher} have different tokenizers, so that {teacher} cannot judge the tokens of "
            f"{student} one by one, as on_policy_distillation has it: take a teacher of the student's family"
        )


def _tokenizer_of(model: Model) -> Path | None:
    """The tokenizer's file of a model whose files are at hand."""
    folder = _check_model("", model)
    file = folder / "tokenizer.json" if folder is not None else None
    return file if file is not None and file.is_file() else None


def _vocabulary(file: Path | None) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file)).get_vocab()


def _check_model(alias: str, model: Model) -> Path | None:
    """The folder of a model whose files are at hand, verified; None for one that the hub has."""
    if isinstance(model, OrganismModel):
        if not model.rebuild:
            shipped.verify(model.organism)
        return shipped.FOLDER / model.organism
    if not isinstance(model, LocalModel):
        return None
    folder = Path(model.path)
    if not list(folder.glob("*.safetensors")):
        raise StudyError(f"models.{alias}: {model.path} has no weights in safetensors; other formats are not loaded")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise StudyError(f"models.{alias}: {model.path} has no tokenizer (tokenizer.json or tokenizer.model)")
    return folder


def _check_thinking(study: Study, folders: list[Path]) -> None:
    """A switch for thinking that the study turns must be in the chat template of some model."""
    switched = {
        f"benchmarks.{name}.thinking": b.thinking
        for name, b in study.benchmarks.items()
        if isinstance(b, GradedBenchmark)
    }
    switched["sampling.thinking"] = study.sampling.thinking
    templates = (path for folder in folders for path in folder.glob("*") if path.name in TEMPLATES)
    if len(folders) < len(study.models) or any(SWITCH in path.read_text() for path in templates):
        return  # There is one, or there may be: templates of the hub's models are not at hand.
    for where, thinking in switched.items():
        if thinking in ("on", "off"):
            raise StudyError(
                f"{where}: no model's chat template has a switch to turn it {thinking}: leave it out, or use empty, "
                f"which puts an empty block of reasoning before the answer"
            )


def _check_tokens(study: Study, alias: str, folder: Path, texts: dict[str, list[str]]) -> None:
    """Prompts that the context cannot hold (the chat template's own few tokens are counted when a prompt is asked), and
    options that are not single tokens."""
    from tokenizers import Tokenizer

    own = json.loads((folder / "config.json").read_text()).get("max_position_embeddings")
    if study.max_model_len is not None and own is not None and study.max_model_len > own:
        raise StudyError(f"context: {study.max_model_len} is more than the {own} tokens that models.{alias} can hold")
    context = study.max_model_len or own
    if context is None or not (folder / "tokenizer.json").is_file():
        return  # Only transformers itself can tell; the engine looks again before it answers.
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name, benchmark in study.benchmarks.items():
        by_logprob = isinstance(benchmark, GradedBenchmark) and benchmark.answer_by == "logprob"
        for option in BENCHMARKS.module(benchmark.kind).OPTIONS if by_logprob else ():
            if len(tokenizer.encode(option, add_special_tokens=False).ids) != 1:
                raise StudyError(
                    f"benchmarks.{name}: {option} is more than one token for models.{alias}, so the likeliest option "
                    f"cannot be told; use answer_by: generation"
                )
    for where, each in texts.items():
        for number, encoded in enumerate(tokenizer.encode_batch_fast(each, add_special_tokens=False), 1):
            if len(encoded.ids) >= context:
                raise StudyError(
                    f"{where}, row {number}: {len(encoded.ids)} tokens for models.{alias}, whose context is {context}: "
                    f"raise context, or leave the row out"
                )


def _check_weights(plan: Plan, store: Store, records: dict[Stage, dict]) -> None:
    """Weights in the store that pending stages will load must be what was written."""
    if not store.is_local:
        return  # Checked when they are fetched.
    for stage in _read_by_pending(plan, records):
        record = records[stage]
        folder = store.folder(stage.address, record)
        for name, written in record["files"].items():
            if not (folder / name).is_file() or sha256_file(folder / name) != written["sha256"]:
                raise StudyError(
                    f"{folder / name}: its checksum is not that of its record, so it was changed or damaged; remove "
                    f"{store.uri}/{stage.address} to have it made anew"
                )


def _read_by_pending(plan: Plan, records: dict[Stage, dict]) -> Iterator[Stage]:
    pending = [stage for stage in plan.stages if stage not in records]
    needed = {needed for stage in pending for needed in stage.inputs.values()}
    return (stage for stage in needed if stage.kind in WEIGHTS and stage in records)
