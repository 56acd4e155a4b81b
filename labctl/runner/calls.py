"""One API call to the server, by plain HTTP as curl would send it or by the ``openai`` client."""

from __future__ import annotations

import inspect
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from labctl.runner import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labctl.runner.recorder import Recorder
    from labctl.runner.serving import Endpoint

    Client = Callable[[dict[str, Any]], Iterator[dict[str, Any]]]

PATHS = {"completion": "/v1/completions", "chat": "/v1/chat/completions"}
# What the client needs where the server wants no key; the tutorial's own word.
NO_KEY = "EMPTY"
# Of a request as the workload has it, what goes into the body as it is.
_AS_GIVEN = ("max_tokens", "temperature")


def body(asked: dict[str, Any], model: str, sampling: dict[str, Any]) -> dict[str, Any]:
    """The JSON that is sent for a request of the workload (see workloads.Requests); ``model``: the served name.

    ``sampling``: of the spec, laid over what the request says.
    """
    text = asked["text"]
    told = {"prompt": text} if asked.get("api") != "chat" else {"messages": [{"role": "user", "content": text}]}
    given = {key: asked[key] for key in _AS_GIVEN if key in asked}
    sent = {"model": asked.get("model") or model, **told, **given, **sampling}
    if asked.get("stream"):
        # Without it a stream does not say how many tokens it was.
        sent |= {"stream": True, "stream_options": {"include_usage": True}}
    return sent


def send(endpoint: Endpoint, recorder: Recorder, by: str, api: str, sent: dict[str, Any]) -> dict[str, Any]:
    """Send one request and tell what came: status, seconds, ttft_s, tokens, text, finish_reason, error.

    Any HTTP status is an answer. No answer at all is status None and its ``error``. Seconds are the client's: from
    handing the request over to the last byte, without the making of the client.
    """
    found: dict[str, Any] = {"status": None, "ttft_s": None, "text": "", "error": None}
    client = _by_openai(endpoint, recorder, api) if by == "openai" else _by_http(endpoint, recorder, api)
    began = time.monotonic()
    try:
        for piece in client(sent):
            _take(found, piece, time.monotonic() - began if sent.get("stream") else None)
        found["status"] = wire.OK
    except wire.WireError as error:
        found |= {"status": error.status, "error": why(error.text)}
    except Exception as error:  # noqa: BLE001 - whatever a client raises for a connection that broke
        found["error"] = f"{type(error).__name__}: {error}"
    return {**found, "seconds": round(time.monotonic() - began, 6)}


def _by_http(endpoint: Endpoint, recorder: Recorder, api: str) -> Client:
    """What sends a body and gives the objects of the answer: one, or one a piece of the stream."""

    def client(sent: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if sent.get("stream"):
            lines = wire.stream(endpoint, PATHS[api], sent, sock=recorder.connect())
            yield from (piece for _, line in lines if (piece := wire.data(line)) is not None)
            return
        answer = wire.post_json(endpoint, PATHS[api], sent, sock=recorder.connect())
        if answer.status != wire.OK:
            raise wire.WireError(answer.status, answer.text)
        yield answer.json()

    return client


def _by_openai(endpoint: Endpoint, recorder: Recorder, api: str) -> Client:
    """As _by_http, by the client that users have."""
    import openai

    # The client's own HTTP library: httpx up to 2, httpx2 from 3 on.
    plain = next(kind for kind in openai.DefaultHttpxClient.__mro__ if kind.__name__ == "Client")
    http = sys.modules[plain.__module__.partition(".")[0]]
    line = http.Client(transport=http.HTTPTransport(uds=recorder.path), trust_env=False)
    client = openai.OpenAI(
        base_url=wire.url(endpoint, "/v1"), api_key=endpoint.key or NO_KEY, http_client=line, max_retries=0
    )
    create: Any = client.chat.completions.create if api == "chat" else client.completions.create

    def ask(sent: dict[str, Any]) -> Iterator[dict[str, Any]]:
        # What vLLM takes beyond the client's own API (chat_template, top_k) goes into the body by a way of its own.
        own = inspect.signature(create).parameters
        more = {key: value for key, value in sent.items() if key not in own}
        with client:
            try:
                got = create(**{key: value for key, value in sent.items() if key in own}, extra_body=more or None)
                for piece in got if sent.get("stream") else (got,):
                    yield piece.model_dump()
            except openai.APIStatusError as error:
                raise wire.WireError(error.status_code, error.response.text) from error

    return ask


def _take(found: dict[str, Any], piece: dict[str, Any], seconds: float | None) -> None:
    """Add one object of the answer to what is known of the call."""
    for choice in piece.get("choices") or ():
        part = choice.get("message") or choice.get("delta") or choice
        text = part.get("text") or part.get("content") or ""
        if text and seconds is not None and found["ttft_s"] is None:
            found["ttft_s"] = round(seconds, 6)
        found["text"] += text
        found["finish_reason"] = choice.get("finish_reason") or found.get("finish_reason")
    if usage := piece.get("usage"):
        found |= {"prompt_tokens": usage.get("prompt_tokens"), "output_tokens": usage.get("completion_tokens")}
    if error := piece.get("error"):
        # vLLM tells of an engine that died in mid-stream within the stream, after the status 200.
        found["error"] = error.get("message") if isinstance(error, dict) else str(error)


def why(text: str) -> str:
    """The message in an error's body: {"error": {"message": ...}}; the body itself where it is none."""
    try:
        told = json.loads(text)
        return str(told["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return text[:2000]
