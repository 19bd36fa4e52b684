"""Numbers as people read them: percent with intervals, p-values, units, a dash where nothing was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pandas as pd

Item = TypeVar("Item")

MISSING = "–"
SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
SIGNIFICANT = 0.05
LEAST_SHARE = 1e-5

UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "kB": 1e3, "MB": 1e6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}
_NUMBER = re.compile(r"([+−-]?)(\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)\s*(kB|MB|ms|min|[kMGsh])?(?![A-Za-z])")


def absent(value: Any) -> bool:
    """Whether a table's cell is empty."""
    return value is None or value == "" or bool(pd.isna(value))


def percent(value: Any, digits: int = 2) -> str:
    """A fraction as percent: 0.9263 gives 92.63 %."""
    return MISSING if absent(value) else f"{100 * float(value):.{digits}f}{SPACE}%"


def share(value: Any) -> str:
    """A part that may be far below one percent, with two significant digits: 0.0030 %, 21 %."""
    if absent(value):
        return MISSING
    if 0 < value < LEAST_SHARE:
        return f"less than {100 * LEAST_SHARE:g}{SPACE}%"
    return f"{significant(100 * float(value), 2)}{SPACE}%"


def interval(low: Any, high: Any) -> str:
    """A confidence interval of a fraction: 92.1 to 93.1 %."""
    if absent(low) or absent(high):
        return ""
    return f"{100 * float(low):.1f} to {100 * float(high):.1f}{SPACE}%"


def accuracy(row: dict[str, Any]) -> str:
    """Test accuracy with its interval in brackets, where there is one."""
    found, bounds = row["test_accuracy"], interval(row.get("ci_low"), row.get("ci_high"))
    return percent(found) + (f" ({bounds})" if bounds and not absent(found) else "")


def apart(difference: Any, digits: int = 2) -> str:
    """How far two fractions lie apart, in percentage points: 0.28."""
    return MISSING if absent(difference) else f"{100 * abs(float(difference)):.{digits}f}"


def points(difference: Any, digits: int = 2) -> str:
    """A difference of fractions in percentage points, with its sign: +0.28."""
    text = apart(difference, digits)
    if absent(difference) or float(text) == 0:
        return text
    return ("+" if difference > 0 else MINUS) + text


def points_interval(low: Any, high: Any) -> str:
    """The interval of a difference: +0.83 to +1.83."""
    return MISSING if absent(low) or absent(high) else f"{points(low)} to {points(high)}"


def quantity(value: Any, unit: str) -> str:
    """A fraction as percent, a difference of fractions in points, a factor with its sign of times, a number."""
    if unit == "points":
        return points(value)
    if unit == "number":
        return significant(value, 2)
    return factor(value) if unit == "times" else percent(value)


def p_value(p: Any) -> str:
    """`p = 0.03`, `p < 0.001`; three decimals below 0.01, and as many as tell on which side of 0.05 it lies."""
    if absent(p):
        return MISSING
    if p < 0.001:
        return "p < 0.001".replace(" ", SPACE)
    decimals = 3 if p < 0.01 else 2
    while round(float(p), decimals) == SIGNIFICANT != p:
        decimals += 1
    return f"p = {float(p):.{decimals}f}".replace(" ", SPACE)


def count(value: Any) -> str:
    """A large number with its unit: 466.9 k, 68.9 M."""
    if absent(value):
        return MISSING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.99995 * limit:  # less reads 999.9 of the smaller unit at most, more would read 1000.0
            return f"{value / limit:.1f}{SPACE}{unit}"
    return f"{value:.0f}"


def size(value: Any) -> str:
    """Bytes: 1.88 MB, 940 kB (powers of ten)."""
    if absent(value):
        return MISSING
    kilobytes = round(value / 1e3)  # first, or 999,600 bytes would be 1000 kB beside 1.00 MB
    return f"{value / 1e6:.2f}{SPACE}MB" if kilobytes >= 1000 else f"{kilobytes}{SPACE}kB"


def beside(*facts: str) -> str:
    """Facts in one line, without those that are missing."""
    return " · ".join(fact for fact in facts if fact and not fact.startswith(MISSING))


def milliseconds(value: Any) -> str:
    """104 ms, 8.3 ms: three digits."""
    return MISSING if absent(value) else f"{significant(value)}{SPACE}ms"


def quartiles(low: Any, high: Any) -> str:
    """Two ends of a time: 102 to 107 ms."""
    return MISSING if absent(low) or absent(high) else f"{significant(low)} to {milliseconds(high)}"


def duration(seconds: Any) -> str:
    """Seconds as people say them: 0.42 s, 41.3 s, 4 min 20 s, 1 h 05 min."""
    if absent(seconds):
        return MISSING
    seconds = float(seconds)
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.{2 if seconds < 10 else 1}f}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60:02d}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60:02d}{SPACE}min"


def number(value: Any, digits: int = 4) -> str:
    """A plain number with `digits` decimals; a minus sign does not break from its number as a hyphen does."""
    if absent(value):
        return MISSING
    text = f"{abs(float(value)):.{digits}f}"
    return MINUS + text if value < 0 and float(text) else text


def significant(value: Any, digits: int = 3) -> str:
    """A number with at least `digits` significant digits, never in powers of ten."""
    if absent(value):
        return MISSING
    value = float(value)
    # The exponent of the rounded number: 99.96 has three digits before the point.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def at_most(value: Any, digits: int = 2) -> str:
    """A positive number rounded up to so many significant digits, so that "at most" holds."""
    if absent(value) or not value > 0:
        return significant(value, digits)
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return significant(math.ceil(round(value / unit, 6)) * unit, digits)  # the rounding is against errors of floats


def times(ratio: Any) -> str:
    """A factor: 1.72 times."""
    return MISSING if absent(ratio) else f"{_ratio(ratio)}{SPACE}times"


def factor(ratio: Any) -> str:
    """A factor in a table: 1.72×, 10.7×, 613×."""
    return MISSING if absent(ratio) else f"{_ratio(ratio)}×"


def _ratio(value: Any) -> str:
    """At most two decimals, and three significant digits; below one two decimals, three where two would say one."""
    value = float(value)
    if 0.995 <= value < 1:
        return f"{math.floor(1000 * value) / 1000:.3f}"
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"


def whole(value: Any) -> str:
    """An integer with thousands separated."""
    return MISSING if absent(value) else f"{int(value):,}"


def epochs(value: Any) -> str:
    """A length of training: 1 epoch, 8 epochs, 1.9 epochs."""
    count = whole(value) if absent(value) or float(value).is_integer() else f"{value:.1f}"
    return f"{count} epoch{'' if value == 1 else 's'}"


def span_of_epochs(values: Iterable[Any]) -> str:
    """The lengths of several trainings: 8 epochs, 1 to 40 epochs; empty without any."""
    known = [float(value) for value in values if not absent(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    return epochs(high) if low == high else f"{whole(low)} to {epochs(high)}"


def ratio(value: Any) -> str:
    """A part of filters or channels, as it is configured: 0.8, 0.25."""
    return MISSING if absent(value) else f"{float(value):g}"


def text(value: Any) -> str:
    """Text, or the dash."""
    return MISSING if absent(value) else str(value)


def sizes(value: Any) -> str:
    """Kernel sizes `9 7 11` as `9, 7, 11`."""
    return MISSING if absent(value) else ", ".join(str(value).split())


def listing(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; a dash for nothing."""
    *most, last = [*items] or [MISSING]
    return f"{', '.join(most)} and {last}" if most else last


def ends(ranked: Sequence[Item]) -> list[Item]:
    """The first and the last; one of one, none of none."""
    return [*ranked[:1], *ranked[1:][-1:]]


def span(low: Any, high: Any, show: Callable[[Any], str]) -> str:
    """Two ends as `show` writes them: 3 to 8; but 3 where both read alike."""
    first, last = show(low), show(high)
    return first if first == last else f"{first} to {last}"


def sort_value(shown: str) -> float | None:
    """The number that a table's cell shows, to sort by: the first one, or all parts of a duration; None without one."""
    if not (parts := _NUMBER.findall(shown)):
        return None
    values = [float(digits.replace(",", "")) * UNITS.get(unit, 1) for _, digits, unit in parts]
    value = sum(values) if parts[0][2] in ("h", "min") else values[0]
    sign = -1 if parts[0][0] in ("-", MINUS) else 1
    return sign * (value - 1e-9 if "<" in shown else value)


def outcome(difference: Any, p: Any) -> str:
    """What the exact McNemar test at the level 0.05 says of a difference, as the beginning of a comparison."""
    if absent(difference):
        return "was not compared with"
    if absent(p):
        return "was not tested against"
    if p >= SIGNIFICANT:
        return "cannot be told apart from"
    return "is better than" if difference > 0 else "is worse than"


def verdict(difference: Any, p: Any, control: str = "the control") -> str:
    """Better, worse, or not told apart from `control`, with the difference and the p-value."""
    found = f"{outcome(difference, p)} {control}"
    if absent(difference):
        return found
    size = apart(difference)
    gap = f"{size} points {'above' if difference > 0 else 'below'} it" if float(size) else "level with it"
    return f"{found} ({gap})" if absent(p) else f"{found} ({gap}, {p_value(p)})"
