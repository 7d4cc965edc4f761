"""Who gets how much of what is scarce: max-min fair shares.

Nobody gets more than they ask for, and nobody who asks for more gets less than anybody else does:
https://en.wikipedia.org/wiki/Max-min_fairness.
"""

from collections.abc import Mapping


def fair_shares(demands: Mapping[str, int], room: int) -> dict[str, int]:
    """How many rows each caller gets of ``room``: all of it is given away where as much is asked for.

    Args:
        demands: how many rows each caller has, from 0. Where the last rows cannot be shared, the first callers get
            one each.
        room: rows, from 0.
    """
    shares = dict.fromkeys(demands, 0)
    unmet = {caller: demand for caller, demand in demands.items() if demand}
    while room and unmet:
        each, given = max(1, room // len(unmet)), 0
        for caller, demand in list(unmet.items())[:room]:
            share = min(each, demand)
            shares[caller] += share
            given += share
            unmet[caller] -= share
            if not unmet[caller]:
                del unmet[caller]
        room -= given
    return shares
