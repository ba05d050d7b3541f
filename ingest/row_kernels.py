"""Compiled kernels on one row of logit weights: moments, radix sort, tie groups, quantiles, histogram.

numba compiles them; `no_type_check` keeps run-time type checkers off what numba types itself.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

DIGIT_VALUES = 1 << 11
"""Three digits of 11 bits make a float32."""


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
@no_type_check
def moments(values, scale, out):
    """Mean, std, skewness and kurtosis of values * scale: two passes in float64."""
    n = len(values)
    total = 0.0
    for t in range(n):
        total += np.float64(values[t]) * scale[t]
    mean = total / n
    second = 0.0
    third = 0.0
    fourth = 0.0
    for t in range(n):
        deviation = np.float64(values[t]) * scale[t] - mean
        square = deviation * deviation
        second += square
        third += square * deviation
        fourth += square * square
    variance = second / n
    out[0] = mean
    out[1] = np.sqrt(variance)
    if variance > 0.0:
        out[2] = third / n / (variance * out[1])
        out[3] = fourth / n / (variance * variance)
    else:
        out[2] = np.nan
        out[3] = np.nan


@njit(cache=True)
@no_type_check
def descending_keys(values, keys):
    """Unsigned integers that ascend as the floats descend; -0.0 and 0.0 get one key."""
    bits = values.view(np.uint32)
    for t in range(len(values)):
        word = bits[t]
        if word == np.uint32(0x80000000):
            word = np.uint32(0)
        if word & np.uint32(0x80000000):
            keys[t] = word
        else:
            keys[t] = word ^ np.uint32(0x7FFFFFFF)


@njit(cache=True)
@no_type_check
def radix_argsort(keys, order, spare_keys, spare_order, counts):
    """Sort keys ascending with their positions, stably, in three 11-bit passes; results in spare_keys, spare_order."""
    n = len(keys)
    counts[:] = 0
    for t in range(n):
        key = keys[t]
        counts[0, key & np.uint32(0x7FF)] += 1
        counts[1, (key >> np.uint32(11)) & np.uint32(0x7FF)] += 1
        counts[2, key >> np.uint32(22)] += 1
    for digit in range(3):
        start = 0
        for value in range(counts.shape[1]):
            size = counts[digit, value]
            counts[digit, value] = start
            start += size
    for t in range(n):
        key = keys[t]
        slot = counts[0, key & np.uint32(0x7FF)]
        counts[0, key & np.uint32(0x7FF)] = slot + 1
        spare_keys[slot] = key
        spare_order[slot] = t
    for t in range(n):
        key = spare_keys[t]
        digit = (key >> np.uint32(11)) & np.uint32(0x7FF)
        slot = counts[1, digit]
        counts[1, digit] = slot + 1
        keys[slot] = key
        order[slot] = spare_order[t]
    for t in range(n):
        key = keys[t]
        slot = counts[2, key >> np.uint32(22)]
        counts[2, key >> np.uint32(22)] = slot + 1
        spare_keys[slot] = key
        spare_order[slot] = order[t]


@njit(cache=True)
@no_type_check
def tie_groups(keys, first, last, tied_words):
    """First and last rank of every rank's tie group; a bit word without ties has tied_words 0."""
    n = len(keys)
    tied_words[:] = 0
    start = 0
    while start < n:
        end = start
        while end + 1 < n and keys[end + 1] == keys[start]:
            end += 1
        for p in range(start, end + 1):
            first[p] = start
            last[p] = end
        if end > start:
            for word in range(start >> 6, (end >> 6) + 1):
                tied_words[word] = 1
        start = end + 1


@njit(cache=True)
@no_type_check
def quantile(values, order, level):
    """Quantile of the values that `order` ranks in descending order, by linear interpolation."""
    n = len(values)
    place = level * (n - 1)
    below = int(np.floor(place))
    low = np.float64(values[order[n - 1 - below]])
    if below + 1 >= n:
        return low
    high = np.float64(values[order[n - 2 - below]])
    return low + (high - low) * (place - below)


@njit(cache=True)
@no_type_check
def histogram(values, order, counts):
    """Counts in equal bins from the smallest to the largest value: bin b holds edge[b] <= x < edge[b + 1]."""
    n = len(values)
    bins = len(counts)
    low = np.float64(values[order[n - 1]])
    high = np.float64(values[order[0]])
    previous = 0
    for b in range(1, bins + 1):
        edge = low + (high - low) * b / bins
        left, right = 0, n
        while b < bins and left < right:
            middle = (left + right) // 2
            if np.float64(values[order[n - 1 - middle]]) < edge:
                left = middle + 1
            else:
                right = middle
        below = n if b == bins else left
        counts[b - 1] = below - previous
        previous = below
