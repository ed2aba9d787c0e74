"""Texts that the built-in story model goes on with, so that weights of heads can be learned on them."""

NAMES = ("Lily", "Tom", "Ben", "Sue", "Max", "Amy")
THINGS = ("dog", "cat", "ball", "car", "hat", "cake", "book", "fish")


def story(number):
    one, other = NAMES[number % 6], NAMES[(number + 1 + number // 6) % 6]
    things = THINGS[number % 8], THINGS[(3 * number + 1) % 8], THINGS[(5 * number + 2) % 8]
    return (
        f"{one} had a big {things[0]}. {other} had a red {things[1]}. They liked to play in the park. One day, "
        f"{other} saw a {things[2]}. {one} was happy."
    )


ROWS = [{"text": story(number)} for number in range(30)]
