"""A benchmark says itself which of its goals it missed."""

from neurogrid.bench.goals import Goal, verdicts

COLUMNS = ("backend", "training", "agents", "overhead_ratio", "throughput_share")
ROWS = (
    ("inline", "LSTM", 15, 9.0, 0.1),
    ("spark", "LSTM", 15, 3.0, 0.95),
    ("spark", "LSTM", 1000, 4.25, 0.89),
    ("spark", "none", 1000, 2.0, None),
)


def test_each_goal_names_the_rows_that_meet_it_and_those_that_miss_it_with_their_figures() -> None:
    most, least = verdicts(COLUMNS, ROWS, (Goal("overhead_ratio", 3), Goal("throughput_share", 0.9, least=True)))
    assert most == (
        "goal, overhead_ratio at most 3: met by spark, LSTM, 15 agents; spark, none, 1000 agents, "
        "**missed** by spark, LSTM, 1000 agents (4.25)"
    )
    assert least == (
        "goal, throughput_share at least 0.9: met by spark, LSTM, 15 agents, "
        "**missed** by spark, LSTM, 1000 agents (0.89)"
    )


def test_a_goal_for_one_number_of_agents_says_nothing_of_others() -> None:
    assert list(verdicts(COLUMNS, ROWS, (Goal("overhead_ratio", 3, agents=100),))) == []
    (found,) = verdicts(COLUMNS, ROWS, (Goal("overhead_ratio", 3, agents=15),))
    assert found == "goal, overhead_ratio at most 3: met by spark, LSTM, 15 agents"
