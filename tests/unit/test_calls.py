from __future__ import annotations

from labctl import labs
from labctl.runner import api, calls
from labctl.runner.workloads import Requests


def test_the_tutorials_requests() -> None:
    work = labs.build(labs.read("server"), vllm="0.32.0", env={}).workload
    assert isinstance(work, Requests)
    hello = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 50}
    assert [calls.body(one, "m", {}) for one in work.requests] == [
        {"model": "m", "prompt": "San Francisco is a", "max_tokens": 50, "temperature": 0.7},
        {"model": "m", "messages": [{"role": "user", "content": "What is PagedAttention?"}], "max_tokens": 100},
        hello,
        {**hello, "stream": True, "stream_options": {"include_usage": True}},
    ]
    assert [one.get("by", "http") for one in work.requests] == ["http", "http", "openai", "openai"]


def test_sampling_and_another_model() -> None:
    asked = {"text": "a", "model": "no/such", "temperature": 0.7}
    sent = calls.body(asked, "m", {"temperature": 0.0, "top_k": 1})
    assert sent == {"model": "no/such", "prompt": "a", "temperature": 0.0, "top_k": 1}


def test_which_refusal_means_that_there_is_no_template() -> None:
    # vLLM 0.32.0's words for opt-125m, and for a template that it does not trust.
    said = "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
    assert api.lacks_template({"api": "chat", "status": 400, "error": said})
    assert not api.lacks_template({"api": "chat", "status": 200, "error": None})
    assert not api.lacks_template({"api": "chat", "status": 400, "error": "max_tokens must be at least 1"})
    assert not api.lacks_template({"api": "completion", "status": 400, "error": said})
