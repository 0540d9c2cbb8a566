"""The outcomes other than success, and how a library's exception becomes one sentence."""

import re

MAX_REASON = 300


class Refused(Exception):
    """The source must not or cannot be used at all; the message names the part at fault and the way out."""


class LeftOut(Exception):
    """A target that this source, or the samples given, cannot be made into. Not a failure of a converter."""


class CommandError(Exception):
    """A command that cannot be carried out."""


# Lines that say where in a library something was found, not what.
_PLACE = re.compile(
    r"^(Exception from |Check '|FrontEnd API failed with \w+:$|Model wasn't fully converted|Summary:$|Could not translate MLIR to FlatBuffer\.?$|Traceback |File \"|<unknown>:\d+: note:|[\w./-]+\.(cc|cpp|h|py):\d+:?\s*$|={3,}|-{3,}|\s*$|\[ ?[A-Z]+ ?\]\s*$)"
)
_LOCATION = re.compile(r"^(<unknown>|[\w./-]+):\d+(:\d+)?: (error: )?")
# What libraries put before the sentence itself.
_PREFIX = re.compile(r"^(-- |\[ONNXRuntimeError\] : \d+ : \w+ : |Could not translate MLIR to FlatBuffer\.)")


def one_sentence(text: str, limit: int = MAX_REASON) -> str:
    """The first line of `text` that says something, without source positions, at most `limit` characters."""
    for line in text.splitlines():
        line = line.strip()
        if _PLACE.match(line) and "failed to" not in line:
            continue
        line = _LOCATION.sub("", _PREFIX.sub("", line))
        if line.startswith("loc("):  # MLIR: loc(callsite(fused[...] at ...)): the message
            line = _after_parenthesis(line[3:]).lstrip(": ")
        line = " ".join(line.split())
        if sum(c.isalpha() for c in line) < 4:
            continue
        return line if len(line) <= limit else line[: limit - 1] + "…"
    flat = " ".join(text.split())
    return flat[:limit] if flat else "no message"


def _after_parenthesis(text: str) -> str:
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return text[i + 1 :]
    return text


def cause(error: BaseException) -> str:
    """One sentence for an exception of a converter."""
    if isinstance(error, MemoryError):
        return "the converter ran out of memory"
    text = one_sentence(str(error))
    if isinstance(error, (Refused, LeftOut, CommandError)):
        return text
    if text == "no message":
        return f"the converter raised {type(error).__name__} without a message"
    if isinstance(error, (KeyError, IndexError, AttributeError, AssertionError, TypeError)):
        return one_sentence(f"{type(error).__name__}: {text}")
    return text
