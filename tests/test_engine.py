"""The vLLM engine, on the organisms, against what transformers generates from the same weights."""

import pytest

from evaluators.engine import Decoding, Engine
from organisms import shipped

STEPS, WORDS = str(shipped.FOLDER / "steps"), str(shipped.FOLDER / "words")
CHATS = [
    [{"role": "user", "content": text}]
    for text in (
        "solve : start 3 , + 4 , * 2",
        "describe red fox",
        "which thing belongs to bam ? A fox B owl C cat D dog",
    )
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(STEPS, "float32", context=128, lora_rank=8, threads=1)


def generated(checkpoint: str, adapter=None) -> list[str]:
    """The greedy answers of transformers, and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    texts = []
    for chat in CHATS:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, max_new_tokens=40, do_sample=False)
        texts.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def answers(engine: Engine, **options) -> list[str]:
    return [reply.answers[0].text for reply in engine.answer(CHATS, Decoding(max_tokens=40), **options)]


def test_answers_are_those_of_transformers_also_after_a_change_of_weights(engine):
    # The output head is tied to the input embedding, and vLLM's own reload leaves a packed copy of it behind.
    assert answers(engine) == generated(STEPS)
    engine.load(WORDS)
    assert answers(engine) == generated(WORDS)
    engine.load(STEPS)
    assert answers(engine) == generated(STEPS)


def test_prompts_begin_with_exactly_one_bos(engine):
    bos = engine.answer(CHATS[:1], Decoding(max_tokens=1))[0].prompt_ids[0]
    for ids in engine.encode([*CHATS, [{"role": "system", "content": "compute"}, *CHATS[0]]]):
        assert ids.count(bos) == 1
        assert ids[0] == bos


def test_samples_are_repeatable_by_seed_and_differ_between_samples(engine):
    def sample(seed: int) -> list[list[str]]:
        decoding = Decoding(max_tokens=12, temperature=2.0, n=4, seed=seed)
        return [[answer.text for answer in reply.answers] for reply in engine.answer(CHATS, decoding)]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert all(len(set(texts)) > 1 for texts in sample(1))


def test_an_answer_goes_on_from_its_opening_and_holds_it(engine):
    opening = engine.answer(CHATS[:1], Decoding(max_tokens=3))[0].answers[0]
    reply = engine.answer(CHATS[:1], Decoding(max_tokens=40), openings=[opening.ids])[0]
    assert reply.opening_ids == opening.ids
    assert reply.answers[0].ids[:3] == opening.ids
    assert reply.answers[0].text == answers(engine)[0]


def test_an_answer_that_the_limit_ends_is_cut_off(engine):
    short, whole = (engine.answer(CHATS[:1], Decoding(max_tokens=n))[0].answers[0] for n in (2, 40))
    assert (short.cut_off, len(short.ids)) == (True, 2)
    assert not whole.cut_off


def test_a_prompt_beyond_the_context_is_refused(engine):
    long = [{"role": "user", "content": "fox " * 200}]
    with pytest.raises(ValueError, match=r"prompt 1 .* context is 128"):
        engine.answer([CHATS[0], long], Decoding(max_tokens=1))


def test_an_adapter_that_changes_nothing_is_refused(engine, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    folder = tmp_path / "train" / "untrained"  # its second factor is zero
    get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folder)
    with pytest.raises(RuntimeError, match="exactly as without it"):
        engine.answer(CHATS, Decoding(max_tokens=1), adapter=folder)


def test_an_adapter_after_a_change_of_weights_is_not_taken_for_an_earlier_one(engine, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        folders.append(tmp_path / "train" / f"random-{seed}")
        get_peft_model(AutoModelForCausalLM.from_pretrained(STEPS), config).save_pretrained(folders[-1])
    first, second = (generated(STEPS, folder) for folder in folders)
    assert first != second
    assert answers(engine, adapter=folders[0]) == first
    engine.load(WORDS)
    engine.load(STEPS)
    assert answers(engine, adapter=folders[1]) == second
    assert answers(engine, adapter=folders[0]) == first
