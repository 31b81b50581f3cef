"""Roles of tokens and differing tokens, against what `tabpo` does."""

import itertools
import random
import unittest

from tabpo.alignment import differs, token_roles


class Roles(unittest.TestCase):
    def test_the_role_with_the_most_choice_wins(self):
        # The example of the Rust function, in characters.
        stretches = [{"start": 2, "end": 6, "role": "span"}, {"start": 9, "end": 13, "role": "entity-label"}]
        tokens = [(0, 2), (1, 4), (4, 6), (6, 8), (8, 13), (5, 10), (13, 15), (7, 7), (20, 21)]
        expected = ["scaffold", "span", "span", "scaffold", "entity-label", "entity-label"] + ["scaffold"] * 3
        self.assertEqual(token_roles(stretches, tokens), expected)


def longest(a, b):
    """The length of a longest common subsequence, by trying all of them."""
    for size in range(min(len(a), len(b)), -1, -1):
        if set(itertools.combinations(a, size)) & set(itertools.combinations(b, size)):
            return size


class Differences(unittest.TestCase):
    def test_what_is_not_flagged_is_a_longest_common_subsequence(self):
        numbers = random.Random(1)
        for _ in range(300):
            a, b = ([numbers.randrange(4) for _ in range(numbers.randrange(9))] for _ in range(2))
            in_a, in_b = differs(a, b)
            shared = [[token for token, flag in zip(*side) if not flag] for side in ((a, in_a), (b, in_b))]
            self.assertEqual(shared[0], shared[1], (a, b))
            self.assertEqual(len(shared[0]), longest(a, b), (a, b))
            prefix = 0
            while prefix < min(len(a), len(b)) and a[prefix] == b[prefix]:
                prefix += 1
            self.assertFalse(any(in_a[:prefix] + in_b[:prefix]), (a, b))

    def test_an_inserted_record_is_put_as_late_as_possible(self):
        # [1 2] [1 2 1 2]: the second record is the inserted one.
        self.assertEqual(differs([9, 1, 2, 8], [9, 1, 2, 1, 2, 8]), ([False] * 4, [False] * 3 + [True] * 2 + [False]))


if __name__ == "__main__":
    unittest.main()
