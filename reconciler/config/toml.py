"""Writes values as TOML, for messages and the generated files."""

import datetime as dt
import math


def toml_text(value: object) -> str:
    """Write one value (what tomli returns, or tuples of it) on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            import json  # noqa: PLC0415 -- only for messages

            return json.dumps(value, ensure_ascii=False)
        case float() if not math.isfinite(value):
            return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
        case int() | float():
            return str(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return "[" + ", ".join(map(toml_text, value)) + "]"
        case dict():
            pairs = (f"{name} = {toml_text(item)}" for name, item in value.items())
            return "{ " + ", ".join(pairs) + " }" if value else "{}"
        case _:
            raise TypeError(type(value))


def found_text(value: object, *, longest: int = 60) -> str:
    """The same for a message: shortened, and a table is only called "a table"."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "a list of tables"
    text = toml_text(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."
