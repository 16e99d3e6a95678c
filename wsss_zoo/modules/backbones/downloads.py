"""Downloads from the Hugging Face Hub that do not try for a minute where there is no connection."""

import contextlib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

from huggingface_hub import constants  # timm brings it

_SECONDS = 5.0


@contextlib.contextmanager
def without_retries() -> Iterator[str | None]:
    """Take files from the Hub's cache alone if the Hub cannot be reached; yield the reason then.

    The Hub's client would ask again and again, for each of several names of a file.
    """
    reason = None if constants.HF_HUB_OFFLINE else _unreachable(constants.ENDPOINT)
    if reason is None:
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield f"{reason}, and the cache of earlier downloads does not have them"
    finally:
        constants.HF_HUB_OFFLINE = False


def _unreachable(address: str) -> str | None:
    """Say why an address does not answer; None if anything answers."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except OSError as error:
        cause = getattr(error, "reason", error)
        # The Hub's client may know certificates that Python does not.
        if isinstance(cause, ssl.SSLError):
            return None
        return f"{address} cannot be reached ({getattr(cause, 'strerror', None) or cause})"
    return None
