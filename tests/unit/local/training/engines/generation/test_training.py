"""Tokens, losses and steps, with a model of a few thousand random parameters."""

from __future__ import annotations

import math

import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.generation import training
from airflow_automl.local.training.engines.generation.data import Example
from airflow_automl.local.training.engines.generation.language_model import LanguageModel
from airflow_automl.local.training.engines.generation.training import HyperParameters
from tests import tiny_language_model as tiny

torch = pytest.importorskip("torch", reason="the extra 'llm' is not installed")
pytest.importorskip("peft", reason="the extra 'llm' is not installed")

EXAMPLES = [Example(*row) for row in tiny.questions(24).itertuples(index=False)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("model") / "Tiny")


@pytest.fixture
def model(folder):
    return LanguageModel.load(folder, threads=1)


@pytest.fixture
def encoded(model):
    return [model.encode(example) for example in EXAMPLES]


def plain_loss(model, example):
    """By the definition: each token of the answer given all before it."""
    with torch.inference_mode():
        probabilities = model.network(torch.tensor([example.ids])).logits[0].log_softmax(-1)
    answer = range(len(example.ids) - example.answer, len(example.ids))
    return -sum(float(probabilities[at - 1, example.ids[at]]) for at in answer)


def test_the_loss_is_the_cross_entropy_of_the_answers_tokens(model, encoded):
    expected = sum(plain_loss(model, example) for example in encoded) / sum(example.answer for example in encoded)
    assert training.mean_loss(model, encoded) == pytest.approx(expected, rel=1e-4)


def test_the_number_of_tokens_in_one_pass_is_bounded(encoded, monkeypatch):
    monkeypatch.setattr(training, "TOKENS_AT_ONCE", 60)
    parts = list(training.slices(encoded))
    assert [example for part in parts for example in part] == encoded
    assert len(parts) > 5
    assert all(len(part) == 1 or max(len(entry.ids) for entry in part) * len(part) <= 60 for part in parts)


def test_a_step_is_the_same_however_it_is_divided(folder, encoded, monkeypatch):
    after = []
    for at_once in (4096, 60):
        monkeypatch.setattr(training, "TOKENS_AT_ONCE", at_once)
        model = LanguageModel.load(folder, threads=1)
        training.add_adapter(model)
        options = HyperParameters(epochs=1, batch_size=24, learning_rate=0.01, warmup_steps=0)
        course = training.fit(model, encoded, options, lambda: 1.0, lambda pace: True)
        after.append(course.train[0])
    assert after[0] == pytest.approx(after[1], rel=1e-4)


def test_an_example_that_is_too_long_is_cut_to_the_context(model):
    long = model.encode(Example("word " * 200, "answer " * 200))
    assert long.cut
    assert len(long.ids) <= model.positions
    assert 0 < long.answer <= model.positions // 2
    assert not model.encode(EXAMPLES[0]).cut


def test_a_long_prompt_leaves_a_short_answer_whole(model):
    found = model.encode(Example("word " * 200, "Paris."))
    assert model.text(found.ids[-found.answer :]) == "Paris."


def test_prompts_of_a_chat_model_use_its_chat_template(tmp_path):
    chat = LanguageModel.load(tiny.write_model(tmp_path / "Chat", chat=True), threads=1)
    assert chat.tokenizer.decode(chat.prompt("Hello")) == "<user>Hello<model>"
    cut = chat.encode(Example("word " * 200, "Paris."))
    whole = chat.tokenizer.decode(cut.ids)
    assert whole.startswith("<user>word")
    assert whole.endswith("<model>Paris.<end>")


def test_the_adapter_is_kept_as_it_was_at_its_lowest_loss(model, encoded):
    training.add_adapter(model)
    seen, values = [], iter([0.9, 0.4, 0.7])

    def validate():
        seen.append([entry.detach().clone() for entry in model.network.parameters() if entry.requires_grad])
        return next(values)

    options = HyperParameters(epochs=3, batch_size=8, learning_rate=0.01)
    course = training.fit(model, encoded, options, validate, lambda pace: True)
    kept = [entry for entry in model.network.parameters() if entry.requires_grad]
    assert all(torch.equal(now, then) for now, then in zip(kept, seen[1], strict=True))
    assert (course.best, course.steps, course.cut) == (0.4, 9, False)
    assert course.validation == [(1.0, 0.9), (2.0, 0.4), (3.0, 0.7)]


def test_the_base_model_is_unchanged(model, encoded):
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    training.add_adapter(model)
    training.fit(model, encoded, HyperParameters(epochs=1), lambda: 1.0, lambda pace: True)
    after = model.network.unload().state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_training_ends_at_the_time_limit_and_keeps_the_adapter(model, encoded):
    training.add_adapter(model)
    answers = iter([True] * 4 + [False])
    options = HyperParameters(epochs=2, batch_size=8)
    course = training.fit(model, encoded, options, lambda: 0.5, lambda pace: next(answers))
    assert (course.steps, course.planned, course.cut) == (4, 6, True)
    assert course.validation == [(1.0, 0.5), (pytest.approx(1.3333), 0.5)]


def test_no_time_at_all_means_no_step(model, encoded):
    training.add_adapter(model)
    course = training.fit(model, encoded, HyperParameters(), pytest.fail, lambda pace: False)
    assert (course.steps, course.validation) == (0, [])


def test_a_loss_that_is_not_a_number_fails_with_advice(model, encoded):
    training.add_adapter(model)
    with pytest.raises(JobFailure, match=r"lower learningRate \(0.0005\)"):
        training.fit(model, encoded, HyperParameters(epochs=1), lambda: math.nan, lambda pace: True)


def test_drawing_with_a_seed_can_be_repeated(model):
    prompts = [model.prompt(example.prompt) for example in EXAMPLES[:2]]
    how = {"do_sample": True, "temperature": 1.5}
    first, again = (model.generate(prompts, 8, seed=3, **how) for _ in range(2))
    other = model.generate(prompts, 8, seed=4, **how)
    assert first == again != other
    assert all(len(tokens) <= 8 for tokens in first)


def test_a_prompt_gets_the_same_answer_alone_and_in_a_batch(model):
    prompts = [model.prompt("France"), model.prompt("What is the capital of Norway, and of Japan?")]
    assert model.generate(prompts, 6)[0] == model.generate(prompts[:1], 6)[0]


def test_a_folder_that_is_not_a_language_model_is_reported(folder, tmp_path):
    broken = tmp_path / "Broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "never-heard-of"}')
    (broken / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(JobFailure, match="The base model in Broken can't be loaded"):
        LanguageModel.load(broken, threads=1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, HyperParameters()),
        (
            {"epochCount": "10", "batchSize": "64", "learningRate": "1", "learningRateWarmupSteps": "250"},
            HyperParameters(10, 64, 1.0, 250),
        ),
        ({"epochCount": "1", "learningRate": "0"}, HyperParameters(epochs=1, learning_rate=0.0)),
    ],
)
def test_hyperparameters_come_from_the_request(given, expected):
    assert HyperParameters.of({"TextGenerationHyperParameters": given}) == expected
    assert HyperParameters.of({"TextGenerationHyperParameters": given}).as_json()["epochCount"] == expected.epochs


@pytest.mark.parametrize(("name", "value"), [("epochCount", "11"), ("batchSize", "many"), ("learningRate", "nan")])
def test_hyperparameters_out_of_range_are_refused(name, value):
    with pytest.raises(JobFailure, match=f"{name} is '{value}'; it must be"):
        HyperParameters.of({"TextGenerationHyperParameters": {name: value}})


def test_the_learning_rate_rises_and_falls():
    options = HyperParameters(learning_rate=1.0, warmup_steps=4)
    rates = [options.rate(step, 12) for step in range(12)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.2
    assert HyperParameters(learning_rate=1.0, warmup_steps=0).rate(0, 1) == 1
    assert HyperParameters(learning_rate=1.0, warmup_steps=250).rate(2, 3) == 1
