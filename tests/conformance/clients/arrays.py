"""What the cases send."""
import numpy as np

A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), 3, np.int32)


def strings(array):
    return np.array([str(x).encode() for x in array.flatten()], dtype=np.object_).reshape(array.shape)


def check_sums(result, a=A, b=B):
    assert np.array_equal(result.as_numpy("OUTPUT0"), a + b), result.as_numpy("OUTPUT0")
    assert np.array_equal(result.as_numpy("OUTPUT1"), a - b), result.as_numpy("OUTPUT1")


def raises(error_type, fn, *texts):
    """The error that `fn` must raise, whose text holds all of `texts`."""
    try:
        fn()
    except error_type as error:
        for text in texts:
            assert text in str(error), f"'{text}' is not in '{error}'"
        return error
    raise AssertionError("no error was raised")
