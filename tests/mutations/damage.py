"""Random damage to bytes, seeded, so that every case can be made again."""

import random

EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def damaged(data: bytes, rng: random.Random, *, most: int = 4) -> bytes:
    """Return bytes with one to `most` kinds of damage: cut, flipped, overwritten, repeated, moved, extreme numbers."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not changed:
            break
        place = rng.randrange(len(changed))
        length = min(len(changed) - place, int(2 ** rng.uniform(0, 12)))
        match rng.randrange(8):
            case 0:
                del changed[place:]
            case 1:
                for _ in range(rng.randint(1, 12)):
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            case 2:
                changed[place : place + length] = rng.randbytes(length)
            case 3:
                changed[place : place + length] = bytes(length)
            case 4:
                changed[place:place] = changed[rng.randrange(len(changed)) :][:length]
            case 5:
                del changed[place : place + length]
            case 6:
                block = bytes(changed[place : place + length])
                del changed[place : place + length]
                at = rng.randrange(len(changed) + 1)
                changed[at:at] = block
            case 7:
                width = rng.choice((1, 2, 4, 8))
                order = rng.choice(("big", "little"))
                changed[place : place + width] = (rng.choice(EXTREMES) % 2 ** (8 * width)).to_bytes(width, order)
    return bytes(changed)


def damaged_json(value: object, rng: random.Random) -> object:
    """Return a JSON document in which one value, at any depth, is another one, is gone, or is there twice."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        match rng.randrange(6):
            case 0:
                return {name: inner for name, inner in value.items() if name != key}
            case 1:
                return {**value, rng.choice(list(value)): value[key]}
            case _:
                return {**value, key: damaged_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        match rng.randrange(6):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value, value[place]]
            case _:
                return [*value[:place], damaged_json(value[place], rng), *value[place + 1 :]]
    return rng.choice(
        (None, True, -1, 0, 1, 2**31, 10**19, 10**400, -0.5, 12.5, 1e308, float("nan"), float("inf"), "", "a", "\ud800",
         "\0", "../../x", "x" * 5000, [], [[]], {}, {"a": 1}, [1, None], "가", "<b>", "=1+1", "\x1b[2J")
    )  # fmt: skip
