import numpy as np
import pytest
from sklearn.linear_model import Ridge

from neurogrid.workloads.meters.evaluation import ridge
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)


@pytest.fixture(scope="module")
def shards(households):
    return [build_shard([(household, None)], WINDOWS) for household in households[:3]]


@pytest.mark.parametrize("alpha", [1.0, 300.0])
def test_summed_grams_give_what_sklearn_gives_on_the_pooled_rows(shards, alpha: float) -> None:
    sums = ridge.add([ridge.gram(shard, shard.origins["train"]) for shard in shards])
    found = ridge.solve(sums, alpha)
    batches = [gather(shard, shard.origins["train"]) for shard in shards]
    x = np.concatenate([ridge.design(batch) for batch in batches], axis=1)
    y = np.concatenate([batch.target for batch in batches]).astype(np.float64)
    for slot in range(3):
        oracle = Ridge(alpha=alpha).fit(x[slot][:, :-1], y[:, slot])
        np.testing.assert_allclose(found[slot, :-1], oracle.coef_, atol=1e-6)
        assert found[slot, -1] == pytest.approx(oracle.intercept_, abs=1e-6)


def test_the_error_from_sums_is_the_error_over_the_windows(shards) -> None:
    shard = shards[0]
    sums = ridge.gram(shard, shard.origins["train"])
    coefficients = ridge.solve(sums, 10.0)
    batch = gather(shard, shard.origins["train"])
    errors = ridge.predict(batch, coefficients).astype(np.float64) - batch.target
    assert ridge.squared_error(sums, coefficients) == pytest.approx((errors**2).sum(), rel=1e-4)


def test_the_penalty_is_chosen_by_the_validation_windows(shards) -> None:
    train, validation = (ridge.gram(shards[0], shards[0].origins[period]) for period in ("train", "validation"))
    coefficients, alpha = ridge.fit(train, validation)
    errors = {a: ridge.squared_error(validation, ridge.solve(train, a)) for a in ridge.ALPHAS}
    assert alpha == min(errors, key=errors.get)
    np.testing.assert_array_equal(coefficients, ridge.solve(train, alpha))


def test_no_windows_give_sums_of_nothing(shards) -> None:
    nothing = ridge.gram(shards[0], np.empty(0, np.int64))
    assert nothing.windows == 0
    assert np.isfinite(ridge.solve(nothing, 1.0)).all()
