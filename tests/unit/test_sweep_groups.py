"""Groups in groups of any shape make the points that a few lines of plain Python make of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oellm_bench.config.grouping import Rules, multiplied_out

Values = dict[str, Any]


def expected(group: Values) -> list[Values]:
    """Return the points of a group as the documentation has them."""
    parts: list[list[Values]] = []
    if "params" in group:
        combinations = itertools.product(*group["params"].values())
        parts.append([dict(zip(group["params"], values, strict=True)) for values in combinations])
    if "configs" in group:
        found = (expected(item) if {"params", "configs", "groups"} & {*item} else [item] for item in group["configs"])
        parts.append([point for points in found for point in points])
    parts += [expected(inner) for inner in group.get("groups", ())]
    if group.get("type") == "list":
        points = [point for part in parts for point in part]
    else:
        points = [dict(itertools.chain(*(p.items() for p in chosen))) for chosen in itertools.product(*parts)]
    return [{**group.get("defaults", {}), **point} for point in points]


@st.composite
def groups(draw: st.DrawFn, place: str = "g", depth: int = 2) -> Values:
    """Return a group; keys tell where they stand, so that no two parts of a product have one in common."""
    parts = draw(st.sets(st.sampled_from(("params", "configs", "groups")[: 3 if depth else 2]), min_size=1))
    group: Values = {}
    if draw(st.booleans()):
        group["type"] = draw(st.sampled_from(("product", "list")))
    if "params" in parts:
        sizes = draw(st.lists(st.integers(1, 2), min_size=1, max_size=2))
        group["params"] = {f"{place}p{number}": [*range(size)] for number, size in enumerate(sizes)}
    if "configs" in parts:
        count = draw(st.integers(1, 2))
        inner = [depth > 0 and draw(st.booleans()) for _ in range(count)]
        group["configs"] = [
            draw(groups(f"{place}c{number}", 0)) if is_group else {f"{place}c": number}
            for number, is_group in enumerate(inner)
        ]
    if "groups" in parts:
        group["groups"] = [draw(groups(f"{place}{n}", depth - 1)) for n in range(draw(st.integers(1, 2)))]
    if draw(st.booleans()):
        group["defaults"] = dict.fromkeys(
            draw(st.sets(st.sampled_from([f"{place}{end}" for end in ("c", "p0", "d")]))), -1
        )
    return group


def size(group: Values) -> int:
    """Return how many points there are, without making them."""
    sizes = [math.prod(map(len, group["params"].values()))] if "params" in group else []
    if "configs" in group:
        sizes.append(sum(size(item) if {"params", "configs", "groups"} & {*item} else 1 for item in group["configs"]))
    sizes += map(size, group.get("groups", ()))
    return sum(sizes) if group.get("type") == "list" else math.prod(sizes)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(groups().filter(lambda group: size(group) <= 200))
def test_points_of_groups_in_groups(group):
    points = multiplied_out(group, "sweep", Rules())
    assert [point.values for point in points] == expected(group)
    assert len({repr(sorted(point.choice.items())) for point in points}) == len(points)
