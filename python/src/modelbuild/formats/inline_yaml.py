"""Values as YAML on one line, which may stand wherever a value stands, in a block or between brackets."""

from __future__ import annotations

import json
import re
from typing import Any

from modelbuild.formats.agent_scalars import Rewritten, plain

# What no reader can take for anything else: YAML 1.1 and 1.2 agree on such text.
_PLAIN = re.compile(r"[\w./][\w ./+-]*(?<! )")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
# JSON does not escape these, and YAML's readers refuse or fold them.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def inline(value: Any, quote: str = "") -> str:
    """A value of JSON as YAML without a line break; text keeps this quote, if it has one."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{inline(name)}: {inline(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, str):
        return _text(value, quote)
    return json.dumps(value)


def _text(text: str, quote: str) -> str:
    if quote == '"' or not text.isprintable():
        return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))
    if quote == "'" or not _is_plain(text):
        return "'" + text.replace("'", "''") + "'"
    return text


def _is_plain(text: str) -> bool:
    if not _PLAIN.fullmatch(text) or text.lower() in _WORDS:
        return False
    read = plain(text)
    return isinstance(read, str) and not isinstance(read, Rewritten)
