"""The stages of one student-teacher pair with one seed, as conditions and recoveries declare them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluators.engines.prefill import AnyPrefill
from evaluators.suggest import did_you_mean
from orchestrator.stages import dataset, evaluate, logprobs, model, sample, train, transform, weights
from orchestrator.stages.transforms import RowSet
from orchestrator.store.stage import Stage, canonical_json
from orchestrator.study.benchmarks import instead_of
from orchestrator.study.models import TrainedModel
from orchestrator.study.schema import Benchmark, Study
from orchestrator.study.settings import changed, check_known
from orchestrator.study.train import SHAPE_OF_ADAPTER, Train

DECIDE_EXAMPLES = {"kind", "source", "n", "seed", "skip_unreadable", "shots", "chat"}  # fields of a benchmark


def _shape_of(adapter: Stage) -> dict[str, Any]:
    """The rank, alpha and modules of a student's adapter, which further training keeps."""
    while adapter.kind != "train":  # An adapter that is scaled has the shape of the one that was trained.
        adapter = adapter.inputs["student"]
    lora = adapter.settings.train.lora
    return dict(zip(SHAPE_OF_ADAPTER, (lora.r, lora.lora_alpha, lora.target_modules), strict=True))


@dataclass(frozen=True)
class ConditionSpec:
    """What a condition declares for one pair and seed: the student to evaluate (None: the base student) and how.

    `benchmarks` maps names to benchmarks as this condition runs them; None means all benchmarks as the study has them.
    """

    student: Stage | None
    benchmarks: Mapping[str, Benchmark] | None = None
    prefill: AnyPrefill | None = None


@dataclass(frozen=True)
class Builder:
    """Declares the stages of one student-teacher pair with one seed.

    `student` and `teacher` are aliases. All builders of a study share the cache `shared`: stages that are the same for
    several pairs or seeds are built once.
    """

    study: Study
    student: str
    teacher: str
    seed: int
    shared: dict[tuple, Stage] = field(default_factory=dict, repr=False, compare=False)

    def model(self, alias: str) -> Stage:
        """The checkpoint of a model of the study. Raises ValueError for an unknown alias, and for a data set's."""
        if alias in self.study.data:
            raise ValueError(f"{alias} is a data set, which has no weights: only its recorded answers can be used")
        if alias not in self.study.models:
            raise ValueError(f'"{alias}" is not among the study\'s models; {did_you_mean(alias, self.study.models)}')
        declared, cpus = self.study.models[alias], self.study.resources.train.cpus
        if isinstance(declared, TrainedModel):
            return self._once(("model", alias), lambda: self._trained(declared))
        return self._once(("model", alias), lambda: model.stage(alias, declared, cpus))

    def _trained(self, declared: TrainedModel) -> Stage:
        """A model that the study trains, as a checkpoint: an adapter is merged into its base."""
        base, recipe = self.model(declared.trained_from), self.recipe(**declared.train)
        inputs = {"base": base, "data": self.dataset(declared.data)}
        trained = train.stage(self.study, recipe, declared.seed, inputs)
        if not trained.settings.leaves_adapter:
            return trained
        return weights.stage(self.study, base, trained, weights.Interpolate(share=1.0))

    def dataset(self, name: str) -> Stage:
        """The recorded answers, or the text, of a data set of the study."""
        return self._once(("dataset", name), lambda: dataset.stage(name, self.study.data[name]))

    def sample(
        self, alias: str, prompts: dict[str, Any] | None = None, sampling: dict[str, Any] | None = None
    ) -> Stage:
        """A model's completions for the training prompts, or the answers of a data set. `prompts` and `sampling`
        override fields of the study's. Raises ValueError for an unknown field or a wrong value."""
        study = self.study
        if alias in study.data:
            if prompts or sampling:
                what = "prompts and sampling" if prompts and sampling else "prompts" if prompts else "sampling"
                raise ValueError(f"{what}: the answers of {alias} are recorded, so this has no effect on them")
            return self.dataset(alias)
        if prompts or sampling:
            changes = {
                "prompts": changed(study.prompts, "prompts", prompts or {}),
                "sampling": changed(study.sampling, "sampling", sampling or {}),
            }
            study = study.model_copy(update=changes)
        key = ("sample", alias, canonical_json([prompts or {}, sampling or {}]))
        asked = self.dataset(study.prompts.source) if study.prompts.source in study.data else None
        return self._once(key, lambda: sample.of_prompts(self.model(alias), study, asked))

    def transform(
        self, apply: Callable[..., RowSet], inputs: Mapping[str, Stage], *, location: str | None = None, **options: Any
    ) -> Stage:
        """Training rows from `apply(context, **options)`, made from the inputs; see `orchestrator/stages/transforms/`.

        `location` is where a data set among the options is.
        """
        return transform.stage(apply, inputs, options, location)

    def recipe(self, **overrides: Any) -> Train:
        """The study's recipe with some fields replaced. Raises ValueError for an unknown field or a wrong value."""
        return self.study.train.changed(overrides)

    def train(
        self,
        on: str,
        recipe: Train | None = None,
        start: Stage | None = None,
        rows: int | None = None,
        data: Stage | None = None,
        takes_fewer: bool = False,
    ) -> Stage:
        """The student, trained by a recipe (the study's by default) from the base student or further from `start`.

        The objective decides the data: completions of the model `on` for the training prompts, or `data`, a sample or
        rows, in their place; the student's own completions; or the study's problems for RL. `on` is also the teacher
        of an objective that has one. `rows` takes that many examples, in an order drawn from the seed; where there are
        fewer, all with `takes_fewer`, and else the stage fails. Raises ValueError for what does not fit the objective.
        """
        recipe = recipe or self.study.train
        objective, kind = recipe.traits, recipe.objective["kind"]
        inputs = {"base": self.model(self.student)}
        if objective.data in ("completions", "token_streams"):
            inputs["data"] = data or self.sample(on)
        elif data is not None:
            raise ValueError(f"train.objective: {kind} does not learn from given rows: use another objective")
        if objective.data == "problems":
            if self.study.rl_problems is None:
                raise ValueError(f"train.objective: {kind} needs problems with a reward: give the study rl_problems")
            if rows is not None:
                raise ValueError(f"train.objective: {kind} learns from problems, and not from samples: use another")
        elif objective.data == "prompts" and self.study.prompts.source in self.study.data:
            inputs["prompts"] = self.dataset(self.study.prompts.source)
        reference = objective.reference(recipe.objective_options)
        if reference is not None and reference.model == "teacher":
            inputs["teacher"] = self.model(on)
        if start is not None:
            adapter = start.settings.leaves_adapter
            if adapter and recipe.tuning == "full":
                raise ValueError("train.tuning: full weights cannot continue from a LoRA adapter: use one for both")
            if adapter:
                recipe = recipe.changed(_shape_of(start))
            # A new adapter is trained on top of a checkpoint; full weights and adapters are trained further.
            inputs["start" if adapter or recipe.tuning == "full" else "base"] = start
        return train.stage(self.study, recipe, self.seed, inputs, rows, takes_fewer)

    def weights(self, student: Stage, change: weights.Noise | weights.Interpolate | weights.Scale) -> Stage:
        """A student made from the weights of a trained one and of the base student, without training."""
        return weights.stage(self.study, self.model(self.student), student, change)

    def benchmark(self, name: str, **changes: Any) -> Benchmark:
        """A benchmark of the study with some fields replaced. Its examples stay the same, so that scores pair.
        Raises ValueError for an unknown benchmark or field, or a wrong value."""
        assert not changes.keys() & DECIDE_EXAMPLES, "scores pair only on the same examples"
        check_known("benchmarks", name, self.study.benchmarks, "the study's benchmarks")
        if changes and self.study.benchmarks[name].task is not None:
            raise ValueError(
                f"benchmarks: {name} is a task of lm-eval, which defines its own prompts and scores, and this "
                f"condition changes them: {instead_of(self.study.benchmarks[name])}"
            )
        return changed(self.study.benchmarks[name], f"benchmarks.{name}", changes)

    def evaluate(
        self, name: str, benchmark: Benchmark, student: Stage | None, prefill: AnyPrefill | None = None
    ) -> Stage:
        """The scores of a student (None: the base student) on a benchmark, which the study calls `name`."""
        source = None if prefill is None else self._sample_untrained(prefill.from_model, name)
        generations = sample.of_benchmark(
            name, benchmark, self.study, self.model(self.student), student, prefill, source
        )
        return evaluate.stage(benchmark, generations)

    def evaluate_untrained(self, alias: str, name: str) -> Stage:
        """The scores of an untrained model of the study on the benchmark `name`."""
        generations = self._sample_untrained(alias, name)
        return self._once(("evaluate", alias, name), lambda: evaluate.stage(self.study.benchmarks[name], generations))

    def _sample_untrained(self, alias: str, name: str) -> Stage:
        benchmark = self.benchmark(name)
        return self._once(
            ("sample benchmark", alias, name),
            lambda: sample.of_benchmark(name, benchmark, self.study, self.model(alias), None),
        )

    def training_nll(self, data: Stage) -> Stage:
        """Log-probabilities of training data, a sample or rows, under the base student."""
        student, key = self.model(self.student), ("training nll", self.student, data)
        return self._once(key, lambda: logprobs.stage(self.study, student, None, data, by="text"))

    def _once(self, key: tuple, make: Callable[[], Stage]) -> Stage:
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]
