"""How a server's run ends other than well."""

from __future__ import annotations


class ServerError(RuntimeError):
    """The server never came up, died or cannot be started so; the message is one readable sentence."""


class ClientError(RuntimeError):
    """``vllm bench serve`` cannot be had here, or broke; the message is one readable sentence."""


class Stopped(BaseException):
    """SIGTERM: the run is to end. No Exception, so that nothing on the way takes it for a failed request."""


class SpanError(RuntimeError):
    """This host cannot hold its part of an engine over several; the message is one readable sentence."""
