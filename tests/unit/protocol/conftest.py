from __future__ import annotations

from hypothesis import settings

from tests.support.effort import times

settings.register_profile(
    "fixed", derandomize=True, database=None, deadline=None, max_examples=times(100)
)
settings.load_profile("fixed")
