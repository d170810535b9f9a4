"""Philox4x32-10 in plain Python, after Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011)."""

_WORD = 2**32


def philox4x32(counter, key):
    """Ten rounds: four 32-bit words of counter and two of key, lowest first, to four 32-bit words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second // _WORD ^ c[1] ^ k[0], second % _WORD, first // _WORD ^ c[3] ^ k[1], first % _WORD]
        k = [(k[0] + 0x9E3779B9) % _WORD, (k[1] + 0xBB67AE85) % _WORD]
    return c


def uniform(seed, step, purpose, example, count):
    """The first `count` numbers of one example: its counters follow those of the example before it."""
    blocks = -(-count // 4)
    words = []
    for block in range(example * blocks, (example + 1) * blocks):
        counter = [block % _WORD, block // _WORD, purpose % _WORD, purpose // _WORD]
        words += philox4x32(counter, [step, seed])
    return [(word >> 8) / 2**24 for word in words[:count]]
