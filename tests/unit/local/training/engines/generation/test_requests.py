"""What an endpoint for text generation takes."""

from __future__ import annotations

import pytest

from airflow_automl.local.models.payloads import JSON_LINES, PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.engines.generation import serving
from airflow_automl.local.training.engines.generation.serving import read


def test_one_prompt_and_several():
    assert read({"inputs": "Hello"}).prompts == ("Hello",)
    assert read({"text_inputs": ["Hello", "Bye"]}).prompts == ("Hello", "Bye")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_prompt_of_json_lines_may_hold_line_separators_of_unicode(separator):
    body = f'{{"inputs": "one{separator}two"}}\n\n{{"inputs": "three"}}\r\n'.encode()
    _, found = serving._documents(Payload(body, JSON_LINES))
    assert [each.prompts for each in found] == [(f"one{separator}two",), ("three",)]


def test_without_parameters_the_most_probable_text_is_generated():
    assert read({"inputs": "Hello", "parameters": None}).options == {"do_sample": False, "max_new_tokens": 100}


@pytest.mark.parametrize("parameter", [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}, {"do_sample": True}])
def test_parameters_of_the_draw_ask_for_one(parameter):
    assert read({"inputs": "Hello", "parameters": parameter}).options["do_sample"]


def test_an_explicit_refusal_of_the_draw_wins():
    assert not read({"inputs": "Hello", "parameters": {"temperature": 0.7, "do_sample": False}}).options["do_sample"]


def test_a_text_ends_before_the_first_stop():
    request = read({"inputs": "Hello", "parameters": {"stop": ["\n", "User:"]}})
    assert request.finish("Hi there. User: what?\nmore") == "Hi there. "
    assert request.finish("Hi there.") == "Hi there."


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (["Hello"], "must be an object"),
        ({}, "needs 'inputs'"),
        ({"inputs": "a", "text_inputs": "b"}, "needs 'inputs', once"),
        ({"inputs": "a", "prompt": "b"}, "unknown 'prompt'"),
        ({"inputs": []}, "none of them empty"),
        ({"inputs": " "}, "none of them empty"),
        ({"inputs": ["a", 3]}, "a text or a list of texts"),
        ({"inputs": ["a"] * 65}, "65 prompts; at most 64"),
        ({"inputs": "a", "parameters": [1]}, "must be an object, not list"),
        ({"inputs": "a", "parameters": {"max_tokens": 3}}, "no parameter 'max_tokens'; there are 'max_new_tokens'"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, "max_new_tokens must be a whole number from 1"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 1.5}}, "a whole number"),
        ({"inputs": "a", "parameters": {"max_new_tokens": True}}, "not True"),
        ({"inputs": "a", "parameters": {"temperature": 0}}, "temperature must be a number above 0"),
        ({"inputs": "a", "parameters": {"temperature": float("nan")}}, "temperature must be a number"),
        ({"inputs": "a", "parameters": {"top_p": 1.1}}, "top_p must be a number above 0 and at most 1, not 1.1"),
        ({"inputs": "a", "parameters": {"do_sample": "yes"}}, "true or false"),
        ({"inputs": "a", "parameters": {"stop": [""]}}, "stop must be a text"),
    ],
)
def test_invalid_requests_are_refused_with_the_reason(document, message):
    with pytest.raises(PayloadError, match=message):
        read(document)
