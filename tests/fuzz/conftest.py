"""Few examples, always the same ones; ``WSSS_ZOO_FUZZ=500`` draws so many new ones of each test."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("WSSS_ZOO_FUZZ", "0"))

settings.register_profile(
    "wsss_zoo",
    max_examples=EXAMPLES or 15,
    derandomize=EXAMPLES == 0,
    deadline=None,
    # Files are overwritten by each example, so that a folder for all of them is enough.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("wsss_zoo")
