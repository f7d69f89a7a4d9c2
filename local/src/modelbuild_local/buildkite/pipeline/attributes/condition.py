"""``if``: Buildkite's language of conditions.

Source: https://buildkite.com/docs/pipelines/configure/conditionals, and for precedence, types and null
https://github.com/buildkite/conditional. Both sides of ``&&`` and ``||`` are always evaluated, so that every
build reports an error in either side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from modelbuild_local.buildkite.pipeline.attributes.condition_values import (
    ConditionError,
    Missing,
    OneOf,
    Pattern,
    Scalar,
    Value,
    Variables,
    describe,
    kind_of,
    pattern_of,
    plain,
    require_readable,
    text_of,
)
from modelbuild_local.buildkite.pipeline.attributes.patterns import PatternError, finds

MAX_CHARACTERS = 5_000
_MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<regex>/(?:\\.|[^/\\\n])+/[a-z]*)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<number>\d+)
    |(?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<operator>==|!=|=~|!~|\|\||&&|[!()\[\],?:])""",
    re.VERBOSE | re.ASCII,
)
_LITERALS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


def is_met(condition: str, variables: Variables, env: Mapping[str, str]) -> bool:
    """Whether a condition is true.

    Args:
        condition: the text of ``if``.
        variables: the values of ``build.branch`` and the others.
        env: the variables of ``build.env()`` and ``env()``.

    Raises:
        ConditionError: it has a syntax error, an unknown variable, or a comparison of wrong types.
    """
    if len(condition) > MAX_CHARACTERS:
        raise ConditionError(f"the condition is longer than {MAX_CHARACTERS} characters")
    evaluation = _Evaluation(_tokens(condition), variables, env)
    try:
        return evaluation.result()
    except PatternError as error:
        raise ConditionError(str(error)) from None


def _tokens(condition: str) -> list[tuple[str, str]]:
    """The tokens of a condition, with kind and text."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(condition):
        match = _TOKEN.match(condition, at)
        if match is None:
            raise ConditionError(f"the condition cannot be read at '{condition[at : at + 20]}'")
        if match.lastgroup is not None:
            found.append((match.lastgroup, match[0]))
        at = match.end()
    return found


class _Evaluation:
    """Reads the tokens from left to right, each method one level of precedence, and evaluates at once."""

    def __init__(self, tokens: list[tuple[str, str]], variables: Variables, env: Mapping[str, str]) -> None:
        self._tokens = [*tokens, ("end", "its end")]
        self._at = 0
        self._depth = 0
        self._variables = variables
        self._env = env

    def result(self) -> bool:
        value = self._choice()
        if self._tokens[self._at][0] != "end":
            raise self._unexpected()
        return self._boolean(value, "the condition")

    def _choice(self) -> Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ConditionError("the condition is nested too deeply")
        value = self._any()
        if self._takes("?"):
            met = self._boolean(value, "what stands before '?'")
            first = self._choice()
            self._expect(":")
            second = self._choice()
            _require_one_kind(first, second)
            value = first if met else second
        self._depth -= 1
        return value

    def _any(self) -> Value:
        return self._chain("||", self._all, lambda left, right: left or right)

    def _all(self) -> Value:
        return self._chain("&&", self._comparison, lambda left, right: left and right)

    def _chain(
        self, operator: str, operand: Callable[[], Value], combine: Callable[[bool, bool], bool]
    ) -> Value:
        value = operand()
        while self._takes(operator):
            sides = f"both sides of '{operator}'"
            value = combine(self._boolean(value, sides), self._boolean(operand(), sides))
        return value

    def _comparison(self) -> Value:
        value = self._prefixed()
        while True:
            if self._takes("=="):
                value = self._equal(value, self._prefixed())
            elif self._takes("!="):
                value = not self._equal(value, self._prefixed())
            elif self._takes("=~"):
                value = self._matches(value, self._prefixed())
            elif self._takes("!~"):
                value = not self._matches(value, self._prefixed())
            elif self._tokens[self._at] == ("word", "includes"):
                self._at += 1
                value = self._includes(value, self._prefixed())
            else:
                return value

    def _prefixed(self) -> Value:
        negations = 0
        while self._takes("!"):
            negations += 1
        value = self._operand()
        for _ in range(negations):
            value = not self._boolean(value, "what follows '!'")
        return value

    def _operand(self) -> Value:
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return int(text)
        if kind == "string":
            return text_of(text)
        if kind == "regex":
            return pattern_of(text)
        if kind == "word":
            return self._call(text) if self._takes("(") else self._variable(text)
        if (kind, text) == ("operator", "("):
            value = self._choice()
            self._expect(")")
            return value
        if (kind, text) == ("operator", "["):
            return self._array()
        self._at -= 1
        raise self._unexpected()

    def _array(self) -> Value:
        items: list[Scalar] = []
        while not self._takes("]"):
            if items:
                self._expect(",")
            item = self._operand()
            if not isinstance(item, (str, Missing)) or kind_of(item) is not str:
                raise ConditionError("an array may hold texts only")
            items.append(item)
        return tuple(items)

    def _call(self, name: str) -> Value:
        argument = self._operand()
        self._expect(")")
        if name not in ("build.env", "env"):
            raise ConditionError(f'`{name}` is not a function: the one there is, is build.env("NAME")')
        if not isinstance(argument, str):
            raise ConditionError(f"{name}() needs the name of a variable, in quotes")
        require_readable(argument)
        return self._env.get(argument, Missing(str) if name == "build.env" else "")

    def _variable(self, name: str) -> Value:
        if name in _LITERALS:
            return _LITERALS[name]
        if name in self._variables:
            return self._variables[name]
        if name == "build.state" or name.startswith("step."):
            raise ConditionError(f"`{name}` can be used for notifications only, not for steps")
        raise ConditionError(f"`{name}` is not a variable")

    def _equal(self, left: Value, right: Value) -> bool:
        if isinstance(left, Pattern) or isinstance(right, Pattern):
            raise ConditionError("a regular expression is compared with =~ or !~")
        _require_one_kind(left, right)
        for one, other in ((left, right), (right, left)):
            if isinstance(one, OneOf) and isinstance(other, str) and other not in one.values:
                raise ConditionError(f"'{other}' is none of {', '.join(one.values)}")
        return plain(left) == plain(right)

    def _matches(self, left: Value, right: Value) -> bool:
        if not isinstance(right, Pattern):
            raise ConditionError("a regular expression must stand at the right of =~ and !~")
        if left is not None and (isinstance(left, OneOf) or kind_of(left) is not str):
            raise ConditionError(f"a regular expression cannot be matched against {describe(left)}")
        text = plain(left)
        found = finds(right.text, text if isinstance(text, str) else "", ignore_case=right.ignore_case)
        return isinstance(text, str) and found

    def _includes(self, left: Value, right: Value) -> bool:
        if left is not None and not isinstance(left, tuple):
            raise ConditionError(f"'includes' needs an array at its left, not {describe(left)}")
        items = [plain(item) for item in left or ()]
        if isinstance(right, Pattern):
            texts = [item for item in items if isinstance(item, str)]
            return any(finds(right.text, text, ignore_case=right.ignore_case) for text in texts)
        if right is not None and (isinstance(right, OneOf) or kind_of(right) is not str):
            raise ConditionError(f"an array of texts cannot include {describe(right)}")
        return plain(right) in items

    def _boolean(self, value: Value, subject: str) -> bool:
        """A boolean that the build does not have counts as false."""
        if kind_of(value) is not bool:
            raise ConditionError(f"{subject} must be true or false, not {describe(value)}")
        return plain(value) is True

    def _takes(self, operator: str) -> bool:
        taken = self._tokens[self._at] == ("operator", operator)
        self._at += taken
        return taken

    def _expect(self, operator: str) -> None:
        if not self._takes(operator):
            raise self._unexpected(f", where '{operator}' should stand")

    def _unexpected(self, hint: str = "") -> ConditionError:
        return ConditionError(f"the condition cannot be read at '{self._tokens[self._at][1]}'{hint}")


def _require_one_kind(left: Value, right: Value) -> None:
    """Refuse values of different kinds; a null fits to each."""
    if left is not None and right is not None and kind_of(left) is not kind_of(right):
        raise ConditionError(f"{describe(left)} cannot be compared with {describe(right)}")
