"""What the driver's exceptions mean."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

from redis import exceptions

from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError, Rejected, Unavailable

# What the administrator of the server needs; also the answer to a refusal.
ADMIN_RULES = "+info +config|get +acl|getuser +acl|setuser +acl|deluser +acl|list +acl|save +scan +unlink ~mem-*"
NO_ACL_FILE = "not configured to use an ACL file"
# Starts of answers that the driver knows no class for, all of a server that may be well again later.
_LATER = ("BUSY ", "There was an error trying to save the ACLs")


@contextlib.contextmanager
def translated(where: str, what: str) -> Iterator[None]:
    """Turn driver exceptions into `Unavailable` and `Rejected`; `what` is the object or the step at hand."""
    try:
        yield
    except exceptions.RedisError as error:
        raise meaning(error, where, what) from error
    except ssl.SSLError as error:
        detail = f"{where}: the CA certificates cannot be read ({error}); give them as PEM"
        raise Rejected(detail, reason=Reason.TLS_FAILED) from error


def meaning(error: exceptions.RedisError, where: str, what: str) -> PlatformError:  # noqa: PLR0911 - a table
    """Return the error class that a driver error stands for."""
    detail = f"{where}: {what}: {error}"
    match error:
        case exceptions.AuthenticationError():
            remedy = "check username and password of the administrator in the Secret"
            return Rejected(f"{where} refuses the login: {error}; {remedy}", reason=Reason.AUTHENTICATION_FAILED)
        case exceptions.BusyLoadingError():
            return Unavailable(f"{where} is still loading its data")
        case exceptions.ConnectionError():
            return _connection_meaning(error, where)
        case exceptions.TimeoutError():
            return Unavailable(f"{where} does not answer in time")
        case exceptions.NoPermissionError():
            return Rejected(f"{detail}; the administrator needs the rules {ADMIN_RULES}")
        case exceptions.OutOfMemoryError():
            return Unavailable(detail, reason=Reason.BACKEND_FULL)
        case exceptions.ReadOnlyError():
            return Unavailable(detail, reason=Reason.BACKEND_READ_ONLY)
        # Its last snapshot could not be written, so it refuses writes; a full disk is one cause of several.
        case exceptions.ResponseError() if str(error).startswith("MISCONF"):
            return Unavailable(detail, reason=Reason.BACKEND_READ_ONLY)
        case exceptions.ResponseError() if str(error).startswith(_LATER):
            return Unavailable(detail)
        case exceptions.InvalidResponse():
            return Rejected(f"{where} does not speak the protocol of Redis; check the port, and whether it wants TLS")
    return Rejected(detail)


def _connection_meaning(error: exceptions.ConnectionError, where: str) -> PlatformError:
    """Look at what the driver wrapped. TLS is `Unavailable`: a renewed certificate is no event that we would see."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        detail = f"{where} shows a certificate that is not to be trusted: {cause}"
        return Unavailable(f"{detail}; renew it, or give its authority as CA certificate", reason=Reason.TLS_FAILED)
    if isinstance(cause, ssl.SSLError):
        remedy = "check the port, and that the server asks its clients for no certificate"
        return Unavailable(f"{where}: the handshake failed: {cause}; {remedy}", reason=Reason.TLS_FAILED)
    return Unavailable(f"{where} cannot be reached: {error}")
