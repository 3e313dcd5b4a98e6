"""What the tests of a fake device share."""

import pytest

from tests.backend import fake_device


@pytest.fixture(params=[1, 2], ids=["one GPU", "two GPUs"])
def device(request):
    """The fake device in CuPy's place; the name of the last."""
    with fake_device.installed(request.param):
        yield f"cuda:{request.param - 1}"
