"""A search that is fair to all sides: each gets the same grid, and no edge is the end of it."""

from collections.abc import Callable, Mapping, Sequence
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
    num_series: int,
    widen: Callable[[list[float]], None] = lambda added: None,
) -> dict[str, dict[str, Any]]:
    """
    Finds the value that is best for each side. Where the edge of the grid is better for one of them than all that lies
    within, by more than the standard error of its accuracy, it is widened for all of them, so that all have as many
    trials; `MAX_WIDENINGS` times at most.

    Args:
        names: of the sides.
        grid: the values to try.
        score: makes a trial of a side with a value and returns an accuracy. A trial that raises FloatingPointError, as
            it diverges, scores 0.
        num_series: that an accuracy is of.
        widen: is told which values are added, before they are tried.

    Returns:
        for each side the `best` value, of equals that which is nearest to the middle of the grid; all `trials`, scores
        by value; and whether the best is still `at_edge` of the last grid.
    """
    grid = sorted(grid)
    known: dict[tuple[str, float], float] = {}

    def tried(name: str, value: float) -> float:
        if (name, value) not in known:
            try:
                known[name, value] = score(name, value)
            except FloatingPointError:
                known[name, value] = 0.0
        return known[name, value]

    for widening in range(MAX_WIDENINGS + 1):
        trials = {name: {value: tried(name, value) for value in grid} for name in names}
        best = {name: pick(scores) for name, scores in trials.items()}
        wins = {name: value for name, value in best.items() if wins_at_edge(trials[name], value, num_series)}
        edges = sorted({*wins.values()})
        if not edges or widening == MAX_WIDENINGS:
            break
        added = [float(f"{edge / FACTOR if edge == grid[0] else edge * FACTOR:.2g}") for edge in edges]
        winners = ", ".join(wins)
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


def pick(scores: dict[float, float]) -> float:
    """Returns the value with the highest score, of equals that which is nearest to the middle."""
    values = sorted(scores)
    highest = max(scores.values())
    middle = (len(values) - 1) / 2
    places = [place for place, value in enumerate(values) if scores[value] == highest]
    return values[min(places, key=lambda place: abs(place - middle))]


def pick_trial(trials: Mapping[str, float]) -> float:
    """Returns what [`pick`] returns of the `trials` of [`search_grid`], whose values are strings."""
    return pick({float(value): score for value, score in trials.items()})


def wins_at_edge(scores: dict[float, float], best: float, num_series: int) -> bool:
    """Returns whether the best is at an edge, and better than all within by more than its standard error."""
    _, *within, _ = sorted(scores)
    if best in within:
        return False
    error = (scores[best] * (1 - scores[best]) / num_series) ** 0.5
    return all(scores[best] > scores[value] + error for value in within)
