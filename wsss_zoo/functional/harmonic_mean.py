"""One number for two groups of classes."""


def harmonic_mean(first: float, second: float) -> float:
    """2 a b / (a + b): high only if both are; 0 if both are 0, nan if one is.

    Args:
        first: A mean IoU, not negative, as that of the base classes.
        second: Another, as that of the novel classes.

    >>> harmonic_mean(0.6, 0.2), harmonic_mean(0.0, 0.0)
    (0.3, 0.0)
    """
    total = first + second
    return 2 * first * second / total if total != 0 else 0.0
