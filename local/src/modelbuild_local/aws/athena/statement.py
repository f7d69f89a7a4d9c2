"""Parses Athena's SQL: the kinds of statements, their locations, and the SELECT in DuckDB's dialect."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that are refused here anyway

_DIALECT = "trino"  # Athena's dialect, except for its DDL
_QUERIES = ("SELECT", "WITH", "VALUES", "(", "TABLE")
_OTHERS = (
    *("ALTER", "ANALYZE", "CREATE", "DEALLOCATE", "DELETE", "DESCRIBE", "DROP", "EXECUTE", "EXPLAIN"),
    *("INSERT", "MERGE", "MSCK", "OPTIMIZE", "PREPARE", "REFRESH", "SHOW", "UPDATE", "USE", "VACUUM"),
)
_COMPRESSIONS = ("GZIP", "SNAPPY", "ZSTD", "LZ4", "NONE")


class InvalidRequest(Exception):
    """Athena refuses the statement; the message is that of InvalidRequestException."""


class QueryFailed(Exception):
    """The query ends as FAILED; the message is its StateChangeReason."""


@dataclass(frozen=True)
class Statement:
    """A statement that can run.

    Attributes:
        query: The SELECT.
        location: Where UNLOAD writes, ending in ``/``; None for a plain SELECT.
        compression: Of the Parquet files that UNLOAD writes, in lower case.
    """

    query: exp.Expr
    location: str | None = None
    compression: str = "gzip"


def parse(text: str) -> Statement:
    """Read one SELECT or UNLOAD.

    Raises:
        InvalidRequest: it is no SQL, has more than one statement, or is of an unsupported kind.
    """
    tokens = _tokens(text)
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        text = text[: tokens.pop().start]
    if not tokens:
        raise InvalidRequest("line 1:1: mismatched input '<EOF>'. Expecting: 'SELECT', 'UNLOAD', 'WITH'")
    if any(token.token_type == TokenType.SEMICOLON for token in tokens):
        raise InvalidRequest("Only one sql statement is allowed.")
    first = tokens[0].text.upper()
    if first == "UNLOAD":
        return _unload(text, tokens)
    if first in _OTHERS:
        raise InvalidRequest(
            f"Queries of this type are not supported: the laptop's Athena runs SELECT and UNLOAD, not {first}"
        )
    return Statement(_select(text))


def bind(text: str, parameters: list[str]) -> str:
    """Replace the question marks by the literals of ExecutionParameters.

    Raises:
        QueryFailed: there are more or fewer of them, or one is no literal.
    """
    marks = [token for token in _tokens(text) if token.token_type == TokenType.PLACEHOLDER]
    if len(marks) != len(parameters):
        raise QueryFailed(
            "INVALID_PARAMETER_USAGE: line 1:1: Incorrect number of parameters: "
            f"expected {len(marks)} but found {len(parameters)}"
        )
    for mark, parameter in reversed(list(zip(marks, parameters, strict=True))):
        if not _is_literal(parameter):
            raise QueryFailed(
                f"INVALID_PARAMETER_USAGE: {parameter!r} is not a literal; text needs single quotes around it"
            )
        text = f"{text[: mark.start]}{parameter.strip()}{text[mark.end + 1 :]}"
    return text


def for_duckdb(query: exp.Expr) -> str:
    """The query in DuckDB's dialect."""
    return query.sql("duckdb", unsupported_level=ErrorLevel.IGNORE)


def position(node: exp.Expr | None) -> str:
    """The position of an identifier in the form of Athena's messages: ``line 1:15``."""
    meta = node.meta if node is not None else {}
    if "line" not in meta:
        return "line 1:1"
    return f"line {meta['line']}:{meta['col'] - (meta['end'] - meta['start'])}"


def _unload(text: str, tokens: list[Token]) -> Statement:
    opening = _expect(tokens, 1, "(")
    depth = 0
    for index in range(1, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0) if not _is_string(tokens[index]) else 0
        if depth == 0:
            break
    else:
        raise InvalidRequest("line 1:1: mismatched input '<EOF>'. Expecting: ')'")
    _expect(tokens, index + 1, "TO")
    target = tokens[index + 2] if index + 2 < len(tokens) else None
    if target is None or not _is_string(target):
        raise InvalidRequest("The location of UNLOAD must be text such as 's3://bucket/folder/'.")
    options = _options(tokens, index + 3)
    kind = options.pop("format", "").upper()
    if kind != "PARQUET":
        raise InvalidRequest(f"The laptop's Athena unloads with format = 'PARQUET', not {kind or 'none'}.")
    compression = options.pop("compression", "GZIP").upper()
    if options or compression not in _COMPRESSIONS:
        raise InvalidRequest(
            f"The laptop's Athena unloads with format and compression ({', '.join(_COMPRESSIONS)}), "
            f"not with {', '.join(options) or compression}."
        )
    # The rest is replaced by blanks and not cut, so that messages have the line and column of the whole
    # statement.
    blank = "".join(character if character == "\n" else " " for character in text[: opening.end + 1])
    query = _select(blank + text[opening.end + 1 : tokens[index].start])
    return Statement(query, target.text.rstrip("/") + "/", compression.lower())


def _options(tokens: list[Token], index: int) -> dict[str, str]:
    if index == len(tokens):
        return {}
    _expect(tokens, index, "WITH")
    _expect(tokens, index + 1, "(")
    found: dict[str, str] = {}
    while True:
        index += 2
        name = tokens[index].text.lower() if index < len(tokens) else ""
        _expect(tokens, index + 1, "=")
        if index + 2 >= len(tokens):
            raise InvalidRequest("line 1:1: mismatched input '<EOF>'. Expecting: <expression>")
        found[name] = tokens[index + 2].text
        index += 2
        if index + 1 < len(tokens) and tokens[index + 1].text == ",":
            continue
        _expect(tokens, index + 1, ")")
        if index + 2 < len(tokens):
            raise _mismatch(tokens[index + 2], "<EOF>")
        return found


def _select(text: str) -> exp.Expr:
    tokens = _tokens(text)
    if tokens and tokens[0].text.upper() not in _QUERIES:
        raise _mismatch(tokens[0], "'SELECT', 'WITH'")
    try:
        query = sqlglot.parse_one(text, read=_DIALECT)
    except RecursionError:
        raise InvalidRequest("line 1:1: the statement is nested too deeply") from None
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        raise InvalidRequest(
            f"line {first.get('line', 1)}:{first.get('col', 1)}: mismatched input "
            f"'{first.get('highlight', '')}'. {first.get('description', '')}".strip()
        ) from None
    if not isinstance(query, (exp.Query, exp.Values)):
        raise InvalidRequest("line 1:1: mismatched input. Expecting: <query>")
    return query


def _tokens(text: str) -> list[Token]:
    try:
        return sqlglot.tokenize(text, read=_DIALECT)
    except TokenError as error:
        raise InvalidRequest(f"line 1:1: {error}") from None


def _is_string(token: Token) -> bool:
    return token.token_type == TokenType.STRING


def _expect(tokens: list[Token], index: int, text: str) -> Token:
    if index >= len(tokens):
        raise InvalidRequest(f"line 1:1: mismatched input '<EOF>'. Expecting: '{text}'")
    if tokens[index].text.upper() != text or _is_string(tokens[index]):
        raise _mismatch(tokens[index], f"'{text}'")
    return tokens[index]


def _mismatch(token: Token, expected: str) -> InvalidRequest:
    column = token.col - (token.end - token.start)
    return InvalidRequest(
        f"line {token.line}:{column}: mismatched input '{token.text}'. Expecting: {expected}"
    )


def _is_literal(text: str) -> bool:
    try:
        found = sqlglot.parse_one(text, read=_DIALECT)
    except (ParseError, TokenError):
        return False
    if isinstance(found, (exp.Neg, exp.Cast)):
        found = found.this
    return isinstance(found, (exp.Literal, exp.Boolean, exp.Null))
