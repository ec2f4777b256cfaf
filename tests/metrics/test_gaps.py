"""Token gaps as progressions describe the same multiset as one number a token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermes.metrics.gap_ranks import RankedGaps, describe_gaps
from hermes.metrics.gaps import TokenGaps
from hermes.metrics.quantiles import describe

RUNS = st.lists(
    st.tuples(
        # measured tables can make steps shorter as contexts grow
        st.integers(10**6, 10**9),
        st.integers(-(10**4), 10**4),
        st.integers(1, 20),
        st.integers(1, 9),
    )
)


def spelt_out(runs: list[tuple[int, int, int, int]]) -> list[int]:
    return [
        first + delta * step
        for first, delta, steps, sequences in runs
        for step in range(steps)
        for _ in range(sequences)
    ]


@given(st.lists(RUNS, max_size=3))
def test_progressions_equal_the_spelt_out_gaps(
    parts: list[list[tuple[int, int, int, int]]],
) -> None:
    logs = []
    for runs in parts:
        log = TokenGaps()
        for run in runs:
            log.add(*run)
        logs.append(log)
    values, counts = TokenGaps.gathered(logs)
    expected = sorted(gap for runs in parts for gap in spelt_out(runs))
    assert values.repeat(counts).tolist() == expected
    weighted = describe_gaps(logs, 1000)
    plain = describe([gap / 1000 for gap in expected])
    for statistic, value in plain.items():
        if value is None:
            assert weighted[statistic] is None
        else:
            assert abs(weighted[statistic] - value) <= 1e-12 * value


def test_any_gap_can_be_asked_for_where_there_are_too_many_to_sort() -> None:
    log = TokenGaps()
    for run in range(40):
        log.add(10**9 + 37 * run, 3 + run % 5 - 4 * (run % 2), 1000, 1 + run % 3)
    log.add(10**9 + 500, 0, 2000, 7)
    values, counts = TokenGaps.gathered([log])
    expected = values.repeat(counts)
    ranked = RankedGaps(TokenGaps.columns([log]))
    assert ranked.total == len(expected)
    assert ranked.sum == sum(expected.tolist())
    for rank in (0, 1, 99, len(expected) // 2, len(expected) * 9 // 10, len(expected) - 1):
        assert ranked.at(rank) == expected[rank]
