"""How the driver and its tasks work together, in tests of any workload."""

import pytest

from neurogrid.backends.spark import ExchangeSettings


@pytest.fixture(scope="session")
def exchange() -> ExchangeSettings:
    return ExchangeSettings(
        tasks=2,
        driver_host="",
        bind_address="",
        port=0,
        loopback_tls=False,
        lost_after_s=1.5,
        join_timeout_s=30.0,
        stop_grace_s=1.0,
        batch_bytes=1 << 20,
    )
