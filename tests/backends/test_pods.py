"""Which executors' pods are given up, and what is said to Kubernetes about them."""

import pytest

from neurogrid.backends.pods import LostPods, State

APP = "spark-1234"


class Cluster:
    """Pods with states, and which were removed."""

    def __init__(self, **states: State) -> None:
        self.states, self.removed, self.down = states, [], False

    def state(self, name: str, application: str) -> State:
        if self.down:
            raise OSError("no route to host")
        assert application == APP
        return self.states[name]

    def remove(self, name: str) -> None:
        if self.down:
            raise OSError("no route to host")
        self.removed.append(name)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def empty(pods: LostPods, host: str = "a") -> None:
    pods.arrived(host)
    pods.left(host)


def test_a_pod_that_is_lost_is_removed_after_the_time_allowed_and_not_before(clock: Clock) -> None:
    cluster = Cluster(a="lost")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    clock.now = 14.9
    assert pods.look(APP) == []
    clock.now = 15
    assert pods.look(APP) == ["a"]
    assert pods.look(APP) == []
    assert cluster.removed == ["a"]


def test_a_pod_that_was_removed_is_refused_for_ever(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    pods = LostPods(Cluster(a="lost", b="well"), 15, clock)
    empty(pods)
    clock.now = 20
    pods.look(APP)
    caplog.clear()
    for _ in range(2):
        with pytest.raises(ValueError, match="has been replaced"):
            pods.arrived("a")
    pods.arrived("b")
    # said, but not as often as it tries
    assert caplog.messages == ["pod a was lost and replaced, and has come back: refused"]


def test_a_pod_whose_task_came_back_is_left_alone(clock: Clock) -> None:
    cluster = Cluster(a="lost")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    pods.arrived("a")
    clock.now = 100
    assert pods.look(APP) == []
    assert cluster.removed == []


def test_a_pod_with_one_task_of_two_is_left_alone(clock: Clock) -> None:
    pods = LostPods(Cluster(a="lost"), 15, clock)
    pods.arrived("a")
    empty(pods)
    clock.now = 100
    assert pods.look(APP) == []


def test_a_pod_that_is_well_has_longer_before_it_counts_as_hung(clock: Clock) -> None:
    pods = LostPods(Cluster(a="well"), 15, clock)
    empty(pods)
    clock.now = 59
    assert pods.look(APP) == []
    clock.now = 60
    assert pods.look(APP) == ["a"]


def test_a_pod_that_is_gone_is_not_removed_again_and_does_not_come_back(clock: Clock) -> None:
    cluster = Cluster(a="gone")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    clock.now = 15
    assert pods.look(APP) == []
    assert cluster.removed == []
    with pytest.raises(ValueError, match="has been replaced"):
        pods.arrived("a")


def test_while_kubernetes_does_not_answer_nothing_is_given_up(clock: Clock) -> None:
    cluster = Cluster(a="lost")
    pods = LostPods(cluster, 15, clock)
    empty(pods)
    clock.now, cluster.down = 20, True
    assert pods.look(APP) == []
    cluster.down = False
    assert pods.look(APP) == ["a"]


def test_a_pod_that_is_no_executor_of_ours_is_never_removed_whatever_a_task_says(clock: Clock) -> None:
    cluster = Cluster(other="strange")
    pods = LostPods(cluster, 15, clock)
    empty(pods, "other")
    clock.now = 1000
    assert pods.look(APP) == []
    assert cluster.removed == []
