"""The search for a learning rate that is fair to all sides: each gets the same grid, and no edge is the end of it."""

from collections.abc import Callable, Sequence
from typing import Any


MAX_WIDENINGS = 2
FACTOR = 3  # from the edge of a grid to what widens it


def check_rates(option: str, rates: Sequence[float]) -> None:
    """
    Refuses a grid that is none.

    Args:
        option: which option gives it, for the error.
        rates: of the grid.

    Raises:
        ValueError: there is but one rate, one is there twice, or one is not above 0.
    """
    if len({*rates}) < max(2, len(rates)) or min(rates) <= 0:
        got = " ".join(f"{rate:g}" for rate in rates)
        raise ValueError(f"expected at least two different rates above 0 to choose from in --{option}, got {got}")


def search_rates(
    names: Sequence[str],
    rates: Sequence[float],
    score: Callable[[str, float], float],
    widen: Callable[[list[float]], None],
) -> dict[str, dict[str, Any]]:
    """
    Finds the rate that is best for each side. Where the edge of the grid is best for one of them, it is widened for
    all of them, so that all have as many trials; `MAX_WIDENINGS` times at most.

    Args:
        names: of the sides.
        rates: of the grid.
        score: makes a trial of a side with a rate, and must return the same for the same trial; more is better.
        widen: is told which rates are added, before they are tried.

    Returns:
        for each side the best `rate`, the lowest of equals; all `trials`, scores by rate; and whether the rate is
        still `at_edge` of the last grid.
    """
    grid = sorted(rates)
    for widening in range(MAX_WIDENINGS + 1):
        trials = {name: {rate: score(name, rate) for rate in grid} for name in names}
        best = {name: max(by_rate, key=lambda rate: by_rate[rate]) for name, by_rate in trials.items()}
        edges = sorted({grid[0], grid[-1]} & {*best.values()})
        if not edges or widening == MAX_WIDENINGS:
            break
        added = [float(f"{edge / FACTOR if edge == grid[0] else edge * FACTOR:.2g}") for edge in edges]
        winners = ", ".join(name for name, rate in best.items() if rate in edges)
        words = " and ".join(f"{rate:g}" for rate in added)
        print(f"The edge of the grid is best for {winners}: {words} added for all.", flush=True)
        widen(added)
        grid = sorted([*grid, *added])
    return {
        name: {
            "rate": best[name],
            "trials": {f"{rate:g}": value for rate, value in trials[name].items()},
            "at_edge": best[name] in (grid[0], grid[-1]),
        }
        for name in names
    }
