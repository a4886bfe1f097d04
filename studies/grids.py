"""A search that is fair to all sides: each gets the same grid, and no edge is the end of it."""

from collections.abc import Callable, Sequence
from typing import Any


MAX_WIDENINGS = 2
FACTOR = 3  # from the edge of a grid to what widens it


def check_grid(option: str, grid: Sequence[float]) -> None:
    """
    Refuses a grid that is none.

    Args:
        option: which option gives it, for the error.
        grid: the values to try.

    Raises:
        ValueError: there is but one value, one is there twice, or one is not above 0.
    """
    if len({*grid}) < max(2, len(grid)) or min(grid) <= 0:
        got = " ".join(f"{value:g}" for value in grid)
        raise ValueError(f"expected at least two different values above 0 to choose from in --{option}, got {got}")


def search_grid(
    names: Sequence[str],
    grid: Sequence[float],
    score: Callable[[str, float], float],
    widen: Callable[[list[float]], None],
) -> dict[str, dict[str, Any]]:
    """
    Finds the value that is best for each side. Where the edge of the grid is best for one of them, it is widened for
    all of them, so that all have as many trials; `MAX_WIDENINGS` times at most.

    Args:
        names: of the sides.
        grid: the values to try.
        score: makes a trial of a side with a value, and must return the same for the same trial; more is better.
        widen: is told which values are added, before they are tried.

    Returns:
        for each side the `best` value, the lowest of equals; all `trials`, scores by value; and whether the best is
        still `at_edge` of the last grid.
    """
    grid = sorted(grid)
    for widening in range(MAX_WIDENINGS + 1):
        trials = {name: {value: score(name, value) for value in grid} for name in names}
        best = {name: max(scores, key=lambda value: scores[value]) for name, scores in trials.items()}
        edges = sorted({grid[0], grid[-1]} & {*best.values()})
        if not edges or widening == MAX_WIDENINGS:
            break
        added = [float(f"{edge / FACTOR if edge == grid[0] else edge * FACTOR:.2g}") for edge in edges]
        winners = ", ".join(name for name, value in best.items() if value in edges)
        words = " and ".join(f"{value:g}" for value in added)
        print(f"The edge of the grid is best for {winners}: {words} added for all.", flush=True)
        widen(added)
        grid = sorted([*grid, *added])
    return {
        name: {
            "best": best[name],
            "trials": {f"{value:g}": score for value, score in trials[name].items()},
            "at_edge": best[name] in (grid[0], grid[-1]),
        }
        for name in names
    }
