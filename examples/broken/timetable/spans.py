"""Spans of a day: pairs of minutes since midnight, the end not included."""


def clock(text):
    """Minutes since midnight of a time such as "9:05"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def merge(spans):
    """The same time in as few spans as possible, in order; spans that touch become one."""
    merged = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            first, last = merged[-1]
            merged[-1] = (first, max(last, end))
        else:
            merged.append((start, end))
    return merged


def free(busy, opens, closes):
    """The spans between `opens` and `closes` that no span of `busy` covers."""
    gaps = []
    at = opens
    for start, end in merge(busy):
        if start > at:
            gaps.append((at, min(start, closes)))
        at = max(at, start)
    if at < closes:
        gaps.append((at, closes))
    return gaps
