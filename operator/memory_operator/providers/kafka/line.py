"""Judges the state of a client's connections from the errors that the driver reports beside its answers.

A refused login or certificate is never the answer to a request: the request only times out, while the driver keeps
trying. What was wrong is told to a callback of the client. Pure: names and texts in, a sentence out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError, Rejected, Unavailable
from memory_operator.providers.kafka.connection import KafkaConnection

ALL_DOWN = "_ALL_BROKERS_DOWN"
AUTHENTICATION, TLS, RESOLVE = "_AUTHENTICATION", "_SSL", "_RESOLVE"
# These do not pass by themselves within a request's time. A refused connection may: a host name with two addresses of
# which one is dead, a broker that is just starting.
HOPELESS = (AUTHENTICATION, TLS, RESOLVE)
# All that is heard when a client speaks TLS to a listener that does not.
_HUNG_UP = "SSL connection closed by peer"
# "sasl_ssl://10.0.0.1:9092/bootstrap: … (after 310ms in state AUTH_REQ, 4 identical error(s) suppressed)": the driver
# adds what differs from one attempt to the next; a condition's message must not.
_VARIABLE = re.compile(r"^\S+/\S+: | \(after \d+ms in state .*\)$")


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of a connection, and when it was heard (a monotonic clock's seconds)."""

    name: str
    text: str
    at: float


@dataclass(slots=True)
class Line:
    """The way to one cluster: the troubles that were heard since a broker last answered."""

    connection: KafkaConnection
    _trouble: Trouble | None = field(default=None, init=False)
    _all_down: bool = field(default=False, init=False)

    def heard(self, name: str, text: str, at: float) -> None:
        """Note an error that the driver reported."""
        if name == ALL_DOWN:
            self._all_down = True
        else:
            self._trouble = Trouble(name, _VARIABLE.sub("", text), at)

    def answered(self) -> None:
        """Note that a broker has answered, so whatever was wrong is over."""
        self._trouble, self._all_down = None, False

    def hopeless(self, since: float) -> PlatformError | None:
        """Return the error of a request that waits since then and need not wait longer, else None.

        One broker of several that refuses the login is no reason to give up, hence the second condition.
        """
        trouble = self._trouble
        if trouble and trouble.at >= since and trouble.name in HOPELESS and self._all_down:
            return self.failure()
        return None

    def failure(self, last_words: str | None = None) -> PlatformError:
        """Return the error of a request that got no answer; `last_words` is how it ended, unless by time alone."""
        where, trouble = f"Kafka at {self.connection.bootstrap_servers}", self._trouble
        if trouble is None and last_words:
            return Unavailable(f"{where} cannot be reached: {last_words}", reason=Reason.BACKEND_UNAVAILABLE)
        if trouble is None or _HUNG_UP in trouble.text:
            return Unavailable(f"{where} {self._silence()}", reason=Reason.BACKEND_UNAVAILABLE)
        if trouble.name == AUTHENTICATION:
            sentence = f"{where} refuses the login{self._login()}; correct its Secret, or the user in Kafka"
            return Rejected(f"{sentence}: {trouble.text}", reason=Reason.AUTHENTICATION_FAILED)
        if trouble.name == TLS:
            sentence = f"{where} fails at TLS; correct the authority in the spec, or the brokers' certificates"
            return Unavailable(f"{sentence}: {trouble.text}", reason=Reason.TLS_FAILED)
        return Unavailable(f"{where} cannot be reached: {trouble.text}", reason=Reason.BACKEND_UNAVAILABLE)

    def _login(self) -> str:
        sasl = self.connection.sasl
        return f" of {sasl.username} ({sasl.mechanism})" if sasl else ""

    def _silence(self) -> str:
        """Return what it can mean: a listener hangs up on a client that begins otherwise than it expects."""
        if self._all_down:
            return "closes the connection; see whether its listener expects TLS and a login as the spec says"
        return f"does not answer within {self.connection.request_seconds:g} s"
