"""From roles of characters to roles of tokens, and which tokens of two answers differ."""

ROLES = ["scaffold", "entity-label", "subtype", "relation-label", "link", "span", "occurrence", "end"]
"""The roles of tokens. Their places in the list stand for them in tensors."""

# A token that overlaps several stretches takes the role that carries the most choice.
_CHOICE = ["scaffold", "span", "end", "occurrence", "link", "relation-label", "subtype", "entity-label"]


def token_roles(stretches, offsets):
    """The role of every token, from its character range `(start, end)` of the answer.

    `stretches` are those that `tabpo pairs export --roles` writes: dicts of `start`, `end` and `role`; what lies
    between them is scaffolding. Empty ranges, and ranges outside the answer, are scaffolding too.
    """
    roles = []
    for start, end in offsets:
        overlapping = [s["role"] for s in stretches if start < end and s["start"] < end and s["end"] > start]
        roles.append(max(overlapping, key=_CHOICE.index, default="scaffold"))
    return roles


def differs(chosen, rejected):
    """For each of two token lists, which of its tokens lie outside a longest common subsequence of both.

    Of several such subsequences it takes the one in which equal heads match and tokens of `chosen` are skipped first,
    as `tabpo` does: the first flagged token is where the answers part.
    """
    prefix = _common(chosen, rejected)
    a, b = chosen[prefix:], rejected[prefix:]
    suffix = _common(a[::-1], b[::-1])
    a, b = a[: len(a) - suffix], b[: len(b) - suffix]
    # Lengths of the longest common subsequences of the tails a[i:] and b[j:].
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            lengths[i][j] = (
                lengths[i + 1][j + 1] + 1 if a[i] == b[j] else max(lengths[i + 1][j], lengths[i][j + 1])
            )
    in_a, in_b = [True] * len(a), [True] * len(b)
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            in_a[i] = in_b[j] = False
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    around = [False] * prefix, [False] * suffix
    return around[0] + in_a + around[1], around[0] + in_b + around[1]


def _common(a, b):
    """The number of leading elements that two lists have in common."""
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length
