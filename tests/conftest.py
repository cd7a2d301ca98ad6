"""What several test files share."""

from collections.abc import Iterator

import pytest

from tests.services.scripted import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage for scripted services."""
    with Stage() as stage:
        yield stage
