"""The checks of `offmodel run` before any work starts. Each mistake is one message that says what to change."""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import SWITCH, Chat
from evaluators.evaluate import chats_of
from orchestrator.plan import hypotheses
from orchestrator.plan.files import check_rows_of_task, check_task, gradable, needs_no_network, notes_on_skipped
from orchestrator.plan.lengths import without_room
from orchestrator.plan.resources import needs_of, too_little
from orchestrator.plan.trial import Plan
from orchestrator.plan.weights_size import too_large
from orchestrator.plan.workload import beyond_the_data
from orchestrator.run import tracking
from orchestrator.stages import api_models, data, dataset, gguf, sample
from orchestrator.stages.model import GGUFCheckpoint
from orchestrator.store.checkpoints import tensors_in
from orchestrator.store.stage import Stage, closure
from orchestrator.store.store import Store
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, LmEvalBenchmark
from orchestrator.study.models import GGUFModel, HubModel, LocalModel, Model, OrganismModel
from orchestrator.study.prompts import Problems
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError, check_known, study_errors
from orchestrator.study.train import ALL_LINEAR
from organisms import shipped
from trainers import objectives
from trainers.scratch import scratch_folder

log = logging.getLogger(__name__)
WEIGHTS = ("model", "train", "weights")
Reads = Callable[[str | None], bool]  # whether the rows of a source are read
TEMPLATES = ("chat_template.jinja", "tokenizer_config.json")


def check(plan: Plan, store: Store, records: dict[Stage, dict]) -> list[str]:
    """Raise StudyError for the first mistake that would make a run of this plan fail. Reads data sets of the hub.

    Returns notes on examples that benchmarks skip.
    """
    with study_errors(), scratch_folder() as scratch:
        store.check_writable()
        tracking.check_answers(tracking.tracking_uri(plan.study))
        texts = _check_data(plan, records, lambda _: True)
        to_ask = {stage.runtime.engine for stage in plan.stages if stage.kind == "sample" and stage not in records}
        asked = {alias: model for alias, model in plan.study.models.items() if alias in to_ask}
        for alias, model in asked.items():
            api_models.check_key(alias, model)
        hub = {alias: model for alias, model in asked.items() if isinstance(model, HubModel)}
        _check_hub(hub, _computed_with(plan, records))
        _check_models(plan, records, texts, scratch)
        _check_weights(plan, store, records)
        return list(notes_on_skipped(plan.study, _pending_benchmarks(plan, records)))


def check_local(plan: Plan, records: dict[Stage, dict]) -> None:
    """The part of `check` that needs no network, no keys and nothing in the store: local data and local models."""
    with study_errors(), scratch_folder() as scratch:
        _check_models(plan, records, _check_data(plan, records, needs_no_network), scratch)


def check_resources(pending: Iterable[Stage], study: Study, here: Mapping[str, float]) -> None:
    """Raise StudyError unless each part of a run fits. A cluster is not checked: it may grow."""
    for message in too_little(needs_of(pending, study), here, study):
        raise StudyError(message)


def check_memory(pending: Iterable[Stage], study: Study, memory: int | None) -> None:
    """Raise StudyError unless the weights of each engine fit on its GPUs, of `memory` bytes each; None: no GPU here."""
    used = {stage.runtime.engine for stage in pending if stage.runtime.uses_engine and stage.runtime.engine}
    for message in too_large(used, study, memory) if memory is not None else ():
        raise StudyError(message)


def _check_data(plan: Plan, records: dict[Stage, dict], reads: Reads) -> dict[str, list[str]]:
    """The texts of the prompts from sources that it `reads`, by place."""
    study, texts = plan.study, {}
    for name, declared in study.data.items():
        if reads(declared.source):
            with study_errors(f"data.{name}"):
                generations, _ = dataset.read(declared)
            if name == study.prompts.source:
                texts["prompts"] = _texts(one.prompt for one in generations)
    if study.prompts.source not in study.data and reads(study.prompts.source):
        texts["prompts"] = _texts(data.load_prompts(study.prompts))
    for mistake in chain(beyond_the_data(plan), without_room(plan.stages, study)):
        raise StudyError(mistake)
    pending = _pending_benchmarks(plan, records)
    asked = {
        name: _check_benchmark(name, benchmark, study)
        for name, benchmark in study.benchmarks.items()
        if name in pending and reads(benchmark.source)
    }
    asked |= _check_changed_prompts(plan, records, reads)
    if study.rl_problems is not None and reads(study.rl_problems.source):
        texts["rl_problems"] = _check_problems(study.rl_problems, study, reads)
    hypotheses.check_parts(study, reads)
    return texts | asked


def _pending_benchmarks(plan: Plan, records: dict[Stage, dict]) -> list[str]:
    """The benchmarks on which models are still to be evaluated."""
    pending = {getattr(stage.runtime, "benchmark", None) for stage in plan.stages if stage not in records}
    return [name for name in plan.study.benchmarks if name in pending]


def _check_models(plan: Plan, records: dict[Stage, dict], texts: dict[str, list[str]], scratch: Path) -> None:
    """Local models can be loaded, and take these texts as prompts."""
    if any(isinstance(stage.settings, GGUFCheckpoint) for stage in plan.stages if stage not in records):
        gguf.check_installed()
    folders: dict[str, Path] = {}
    for alias, model in plan.study.models.items():
        folder = _check_model(alias, model, scratch)
        if folder is not None:
            folders[alias] = folder
            _check_tokens(plan, alias, folder, texts)
    computed_with = _computed_with(plan, records)
    for alias, folder in folders.items():
        _check_not_quantised(alias, json.loads((folder / "config.json").read_text()), computed_with)
    _check_chat_templates(plan, records, folders)
    _check_thinking(plan.study, folders)
    _check_target_modules(plan, folders)
    _check_logits(plan, folders)


def _texts(chats: Iterable[Chat]) -> list[str]:
    return [" ".join(message["content"] for message in chat) for chat in chats]


def _check_changed_prompts(plan: Plan, records: dict[Stage, dict], reads: Reads) -> dict[str, list[str]]:
    """The texts of prompts that conditions change, of trainings and of benchmarks."""
    study, texts = plan.study, {}
    pending = [stage for stage in plan.stages if stage.kind == "sample" and stage not in records]
    own = None if study.prompts.source in study.data else data.prompt_data(study.prompts)
    for stage in pending:
        prompts, location = stage.settings.prompts, stage.runtime.location
        if isinstance(prompts, data.PromptData) and prompts != own and reads(location):
            texts[f"prompts of {stage.address}"] = _texts(data.read_prompts(prompts, location))
    for name, before in study.benchmarks.items():
        if not isinstance(before, GradedBenchmark) or not reads(before.source):
            continue
        used = [stage.settings.prompts for stage in pending if stage.runtime.benchmark == name]
        changed = dict.fromkeys((one.prompt, one.system) for one in used)
        changed.pop((before.prompt or BENCHMARKS.module(before.kind).PROMPT, before.system), None)
        for number, (prompt, system) in enumerate(changed, 1):
            benchmark = before.model_copy(update={"prompt": prompt, "system": system})
            texts[f"{name}, changed by a condition ({number})"] = _check_benchmark(name, benchmark, study)
    return texts


def _check_benchmark(name: str, benchmark: Benchmark, study: Study) -> list[str]:
    """The texts of a benchmark's prompts, all of whose rows can be graded."""
    with study_errors(f"benchmarks.{name}"):
        if isinstance(benchmark, LmEvalBenchmark):
            check_task(benchmark, study.max_model_len)
            check_rows_of_task(benchmark)
            return []
        assert isinstance(benchmark, GradedBenchmark)
        return _texts(chats_of(benchmark.kind, gradable(benchmark), benchmark.prompt, benchmark.system))


def _check_problems(problems: Problems, study: Study, reads: Reads) -> list[str]:
    """The texts of the RL problems. All can be graded, and none is an example of a benchmark."""
    with study_errors("rl_problems"):
        rows = gradable(problems)
        chats = chats_of(problems.kind, rows, problems.prompt, problems.system)
        trained_on = {chat[-1]["content"] for chat in chats_of(problems.kind, rows, None)}
    for name, benchmark in study.benchmarks.items():
        if not isinstance(benchmark, GradedBenchmark) or not reads(benchmark.source):
            continue
        if benchmark.kind == problems.kind:
            asked = chats_of(problems.kind, data.load_examples(benchmark), None)
            both = [chat for chat in asked if chat[-1]["content"] in trained_on]
            if both:
                raise StudyError(
                    f"rl_problems: {len(both)} of them are also examples of benchmarks.{name}, so its score would be "
                    f"that of training data: leave them out of {problems.source}"
                )
    return _texts(chats)


def _check_logits(plan: Plan, folders: Mapping[str, Path]) -> None:
    """Teachers whose logits are used have the student's tokenizer."""
    for trial in plan.trials:
        if trial.compares_logits:
            _check_same_tokens(folders, trial.student, trial.teacher)


def _check_same_tokens(folders: Mapping[str, Path], student: str, teacher: str) -> None:
    first, second = (_vocabulary(folders.get(alias)) for alias in (student, teacher))
    if first is not None and second is not None and first != second:
        raise StudyError(
            f"pairs: {student} and {teacher} have different tokenizers, so the objective cannot compare their logits "
            f"token by token: use a teacher with the student's tokenizer"
        )


def _vocabulary(folder: Path | None) -> dict[str, int] | None:
    """The tokens of a local model; None for a model of the hub, and for a tokenizer that only transformers can read."""
    from tokenizers import Tokenizer

    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()


def _check_hub(models: dict[str, HubModel], computed_with: Collection[str]) -> None:
    """The hub has these models, and lets this user read them. Where it cannot be asked, their stages ask again."""
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    for alias, model in models.items():
        where = f"models.{alias}: {model.hub}"
        try:
            found = huggingface_hub.model_info(model.hub, revision=model.revision)
            huggingface_hub.auth_check(model.hub)
        except GatedRepoError as error:
            raise StudyError(f"{where} is gated: accept its terms on its page of the hub, and set HF_TOKEN") from error
        except RepositoryNotFoundError as error:
            raise StudyError(f"{where} is not on the hub, or is private: check the id, or set HF_TOKEN") from error
        except RevisionNotFoundError as error:
            raise StudyError(f"{where} has no revision {model.revision}: give a branch, tag or commit") from error
        except Exception as error:  # noqa: BLE001  # Each way to have no network has an error of its own.
            log.warning("%s: the hub cannot be asked for it (%s)", where, error)
            return
        if not any(file.rfilename.endswith(".safetensors") for file in found.siblings or ()):
            raise StudyError(f"{where} has no weights in safetensors, the only format that is loaded")
        _check_not_quantised(alias, found.config or {}, computed_with)


def _computed_with(plan: Plan, records: dict[Stage, dict]) -> set[str]:
    """The models whose weights pending stages train, change or compare, other than by an engine."""
    pending = [stage for stage in plan.stages if stage not in records and stage.kind in ("train", "weights")]
    needed = {one for stage in pending for one in stage.inputs.values() if one.kind == "model"}
    return {stage.runtime.engine for stage in needed if stage.runtime.engine is not None}


def _check_not_quantised(alias: str, config: Mapping[str, Any], computed_with: Collection[str]) -> None:
    """vLLM serves quantised weights; trainings need the others. `config` is that of the checkpoint."""
    quantised = config.get("quantization_config")
    if quantised and alias in computed_with:
        raise StudyError(
            f"models.{alias}: its weights are quantised ({quantised.get('quant_method', 'unknown method')}), so it can "
            f"be a teacher, which vLLM serves, but cannot be trained or compared by its logits: use its unquantised "
            f"checkpoint"
        )


def _check_model(alias: str, model: Model, scratch: Path) -> Path | None:
    """The verified folder of a local model; None for a model of the hub or behind an API. That of a GGUF file is made
    in `scratch`, without weights."""
    if isinstance(model, OrganismModel):
        if not model.rebuild:
            shipped.verify(model.organism)
        return shipped.FOLDER / model.organism
    if isinstance(model, GGUFModel):
        with study_errors(f"models.{alias}"):
            gguf.write_tokenizer(gguf.path_of(alias, model), scratch / alias)
        return scratch / alias
    if not isinstance(model, LocalModel):
        return None
    folder = Path(model.path)
    if not list(folder.glob("*.safetensors")):
        raise StudyError(f"models.{alias}: {model.path} has no weights in safetensors, the only format that is loaded")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise StudyError(f"models.{alias}: {model.path} has no tokenizer (tokenizer.json or tokenizer.model)")
    return folder


def _check_chat_templates(plan: Plan, records: dict[Stage, dict], folders: Mapping[str, Path]) -> None:
    """Local models that pending stages ask or train with chats have a chat template."""
    needed = {
        stage.inputs["base"].runtime.engine for stage in plan.stages if stage not in records and _has_chats(stage)
    }
    for alias, folder in folders.items():
        if alias in needed and not _has_template(folder):
            model = plan.study.models[alias]
            if isinstance(model, GGUFModel):
                raise StudyError(
                    f"models.{alias}: {model.gguf} has no chat template (tokenizer.chat_template), so chats cannot be "
                    f"encoded: use the file of its instruction-tuned variant"
                )
            raise StudyError(
                f"models.{alias}: {folder} has no chat template (chat_template.jinja, or chat_template in "
                f"tokenizer_config.json), so chats cannot be encoded: add that of its instruction-tuned variant"
            )


def _has_chats(stage: Stage) -> bool:
    if stage.kind == "sample":
        prompts = stage.settings.prompts
        return not isinstance(prompts, sample.TaskPrompts) or prompts.chat
    return stage.kind == "train" and objectives.get(stage.settings.train.objective).data != "token_streams"


def _has_template(folder: Path) -> bool:
    config = folder / "tokenizer_config.json"
    in_config = config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("chat_template")
    return bool(in_config) or (folder / "chat_template.jinja").is_file()


def _check_thinking(study: Study, folders: Mapping[str, Path]) -> None:
    """Some model's chat template must have a thinking switch if the study sets it."""
    switched = {f"benchmarks.{name}.thinking": benchmark.thinking for name, benchmark in study.benchmarks.items()}
    switched["sampling.thinking"] = study.sampling.thinking
    templates = (path for folder in folders.values() for path in folder.glob("*") if path.name in TEMPLATES)
    if len(folders) < len(study.models) or any(SWITCH in path.read_text() for path in templates):
        return  # A template has the switch, or may have it: those of hub models are not read here.
    for where, thinking in switched.items():
        if thinking in ("on", "off"):
            raise StudyError(
                f"{where}: no model's chat template has a switch to turn it {thinking}: leave it out, or use empty, "
                f"which prefills an empty reasoning block"
            )


def _check_target_modules(plan: Plan, folders: Mapping[str, Path]) -> None:
    """The modules that trainings name are in the checkpoints of students on this machine. A training checks them again,
    in the model that it has loaded."""
    named: dict[str, set[str]] = {}
    for trial in plan.trials:
        for stage in closure(trial.stages()):
            lora = stage.settings.train.lora if stage.kind == "train" else None
            if lora is not None and lora.target_modules != ALL_LINEAR:
                named.setdefault(trial.student, set()).update(lora.target_modules)
    for alias, names in named.items():
        modules = _matrices(folders[alias]) if alias in folders else set()
        for name in sorted(names):
            if modules and not any(f".{module}".endswith(f".{name}") for module in modules):
                layers = sorted({module.rpartition(".")[2] for module in modules})
                check_known("train.target_modules", name, layers, f"the layers of models.{alias}")


def _matrices(folder: Path) -> set[str]:
    """The modules of a checkpoint whose weights are a matrix, as those of linear layers are."""
    return {
        name.removesuffix(".weight")
        for name, _, shape in tensors_in(folder)
        if name.endswith(".weight") and len(shape) == 2
    }


def _check_tokens(plan: Plan, alias: str, folder: Path, texts: dict[str, list[str]]) -> None:
    """Prompts and completions fit into the context, and options are single tokens. The few tokens of the chat template
    are only counted when the engine gets a prompt."""
    from tokenizers import Tokenizer

    study = plan.study
    own = json.loads((folder / "config.json").read_text()).get("max_position_embeddings")
    if study.max_model_len is not None and own is not None and study.max_model_len > own:
        raise StudyError(f"max_model_len: {study.max_model_len} is more than the {own} tokens of models.{alias}")
    engine = "organisms" if isinstance(study.models[alias], OrganismModel) else alias
    for mistake in without_room((stage for stage in plan.stages if stage.runtime.engine == engine), study, own):
        raise StudyError(mistake)
    context = study.max_model_len or own
    if context is None or not (folder / "tokenizer.json").is_file():
        return  # Only transformers can read its tokenizer; the engine checks prompts again.
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name, benchmark in study.benchmarks.items():
        by_logprob = isinstance(benchmark, GradedBenchmark) and benchmark.answer_by == "logprob"
        for option in BENCHMARKS.module(benchmark.kind).OPTIONS if by_logprob else ():
            if len(tokenizer.encode(option, add_special_tokens=False).ids) != 1:
                raise StudyError(
                    f"benchmarks.{name}: {option} is more than one token for models.{alias}, so its "
                    f"log-probability cannot be compared; use answer_by: generation"
                )
    for where, each in texts.items():
        for number, encoded in enumerate(tokenizer.encode_batch_fast(each, add_special_tokens=False), 1):
            if len(encoded.ids) >= context:
                raise StudyError(
                    f"{where}, row {number}: {len(encoded.ids)} tokens for models.{alias}, whose max_model_len is "
                    f"{context}: raise max_model_len, or leave the row out"
                )


def _check_weights(plan: Plan, store: Store, records: dict[Stage, dict]) -> None:
    """Weights in the store that pending stages will load have the checksums of their records."""
    if not store.is_local:
        return  # Checked when they are fetched.
    pending = [stage for stage in plan.stages if stage not in records]
    for stage in {needed for one in pending for needed in one.inputs.values()}:
        if stage.kind not in WEIGHTS or stage not in records:
            continue
        for file in store.damaged_files(stage.address, records[stage]):
            raise StudyError(
                f"{file}: its checksum is not that of its record, so it was changed or damaged; remove "
                f"{store.uri}/{stage.address}, and the stage runs again"
            )
