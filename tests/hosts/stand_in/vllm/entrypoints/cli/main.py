"""A STAND-IN for ``vllm serve``: no engine, but the routes, statuses and streams that labctl's line is tested against.

Words of a prompt steer it: "slow 2" waits so many tenths of a second before each token, "die" ends the process in the
midst of the answer, "fail" answers 500, "escape" puts what a terminal must never get into the text. Files steer its
start: while /tmp/stand-in-load is there it loads, /tmp/stand-in-broken makes it die while loading.
"""

import http.server
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from vllm import HOSTILE, __version__, _log

_LOAD, _BROKEN = Path("/tmp/stand-in-load"), Path("/tmp/stand-in-broken")  # noqa: S108 - on the test host
_ROUTES = {
    "/v1/models": "get", "/v1/completions": "post", "/v1/chat/completions": "post", "/health": "get", "/ping": "get",
    "/v1/responses/{response_id}": "get", "/version": "get", "/tokenize": "post", "/scale_elastic_ep": "post",
    "/invocations": "post",
}  # fmt: skip
_METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches (stand-in)
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{model}"}} 0.0
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig (stand-in)
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{{block_size="128",cache_dtype="auto",enable_prefix_caching="True",num_gpu_blocks="455"}} 1.0
"""


class Settings:
    """What the command line said."""

    def __init__(self, words: list[str]) -> None:
        """``serve MODEL --name=value ...``."""
        found = dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))
        self.host, self.port = found.get("host", "127.0.0.1"), int(found.get("port", 8000))
        model = next(word for word in words[1:] if not word.startswith("--"))
        self.model = found.get("served-model-name", model)
        self.template = "chat-template" in found
        self.key = os.environ.get("VLLM_API_KEY", "")


class Answer(http.server.BaseHTTPRequestHandler):
    """One connection; HTTP/1.1, as uvicorn speaks it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    settings: Settings

    def log_message(self, *args: Any) -> None:
        """As uvicorn's access log."""
        _log(f"access] {self.client_address[0]} - {args[0] % args[1:]}")

    def do_GET(self) -> None:
        """Everything that only reads."""
        if not self._let_in():
            return
        body = self._reading().get(self.path)
        if body is not None:
            self._send(200, body)
        elif _ROUTES.get(self.path) == "post":
            self._send(405, {"detail": "Method Not Allowed"})
        else:
            self._send(404, {"detail": "Not Found"})

    def _reading(self) -> dict[str, Any]:
        paths: dict[str, Any] = {path: {verb: {}} for path, verb in _ROUTES.items()}
        return {
            "/health": "", "/ping": "", "/version": {"version": __version__},
            "/metrics": _METRICS.format(model=self.settings.model),
            "/openapi.json": {"openapi": "3.1.0", "paths": paths},
            "/v1/models": {"object": "list", "data": [{"id": self.settings.model, "object": "model"}]},
        }  # fmt: skip

    def do_POST(self) -> None:
        """What generates."""
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if not self._let_in():
            return
        chat = self.path == "/v1/chat/completions"
        if not chat and self.path not in {"/v1/completions", "/invocations"}:
            self._send(404, {"detail": "Not Found"})
        elif asked.get("model") != self.settings.model:
            self._refuse(404, "NotFoundError", f"The model `{asked.get('model')}` does not exist.")
        elif chat and not self.settings.template:
            self._refuse(400, "BadRequestError", "default chat template is no longer allowed (stand-in)")
        else:
            text = asked["messages"][-1]["content"] if chat else asked["prompt"]
            self._generate(asked, text, chat=chat)

    def _generate(self, asked: dict[str, Any], text: str, *, chat: bool) -> None:
        if "fail" in text.split():
            self._refuse(500, "InternalServerError", "the stand-in was asked to fail")
            return
        many = int(asked.get("max_tokens") or 16)
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": many}
        usage["total_tokens"] = sum(usage.values())
        head = {"id": "stand-in", "created": int(time.time()), "model": asked["model"]}
        if not asked.get("stream"):
            whole = "".join(self._tokens(text, many))
            part: dict[str, Any] = {"message": {"role": "assistant", "content": whole}} if chat else {"text": whole}
            kind = "chat.completion" if chat else "text_completion"
            self._send(
                200,
                {**head, "object": kind, "choices": [{"index": 0, **part, "finish_reason": "length"}], "usage": usage},
            )
            return
        self._begin(200, "text/event-stream; charset=utf-8", None)
        try:
            for token in self._tokens(text, many):
                part = {"delta": {"content": token}} if chat else {"text": token}
                self._event({**head, "choices": [{"index": 0, **part, "finish_reason": None}]})
            end: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
            self._event({**head, "choices": [{"index": 0, **end, "finish_reason": "length"}]})
            if (asked.get("stream_options") or {}).get("include_usage"):
                self._event({**head, "choices": [], "usage": usage})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except OSError:
            _log("stand_in.py:1] a client left in mid-stream", "WARNING")
            self.close_connection = True

    def _tokens(self, text: str, many: int) -> Any:
        slow = re.search(r"\bslow (\d+)", text)
        for number in range(many):
            time.sleep(int(slow[1]) / 10 if slow else 0)
            if number == 2 and "die" in text.split():
                _log("stand_in.py:2] RuntimeError: the stand-in was asked to die", "ERROR")
                os._exit(1)
            yield HOSTILE if number == 1 and "escape" in text else f" t{number}"

    def _event(self, data: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _let_in(self) -> bool:
        """As vLLM's middleware: only what lies below /v1 is guarded."""
        key = self.settings.key
        if not key or not self.path.startswith("/v1") or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._send(401, {"error": "Unauthorized"})
        return False

    def _refuse(self, status: int, kind: str, message: str) -> None:
        self._send(status, {"error": {"message": message, "type": kind, "param": None, "code": status}})

    def _send(self, status: int, body: object) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._begin(status, "application/json" if not isinstance(body, str) else "text/plain", len(data))
        self.wfile.write(data)

    def _begin(self, status: int, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    """Many connections at once."""

    request_queue_size = 200
    daemon_threads = True


def main() -> None:
    """``vllm serve``."""
    settings = Settings(sys.argv[1:])
    _log(f"api_server.py:1] vLLM API server version {__version__} (STAND-IN)")
    while _LOAD.exists():
        time.sleep(0.05)
    if _BROKEN.exists():
        _log("core.py:1] ValueError: the stand-in was made to fail while loading", "ERROR")
        sys.exit(1)
    if "--headless" in sys.argv:
        _log("serve.py:224] Launching vLLM headless multiproc executor (STAND-IN)")
        while True:
            signal.pause()
    Answer.settings = settings
    server = Server((settings.host, settings.port), Answer)
    _log(f"launcher.py:1] Starting vLLM API server on http://{settings.host}:{server.server_port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
