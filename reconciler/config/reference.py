"""Generates the configuration reference from the types: the docs page and the example file.

`python -m reconciler.config.reference` writes both into the current repository; a test checks
that they are up to date. The meaning of a key is in configuration.py and environment.py.
"""

import inspect
import textwrap
from pathlib import Path

import msgspec

from reconciler.config.configuration import HttpConfig, ServiceConfig
from reconciler.config.environment import EnvironmentConfig, Notify, Window
from reconciler.config.forms import Tables
from reconciler.config.keys import Field, fields_of
from reconciler.config.load import PER_ENVIRONMENT

_EXAMPLE_HEAD = """\
# Configuration of Reconciler: every key with its default.
#
# Reconciler reads --config FILE, else $XDG_CONFIG_HOME/reconciler/config.toml, else
# /etc/reconciler/config.toml. Paths may begin with "~" and are relative to the folder of
# this file. Durations are numbers with ms, s, m, h or d: "300ms", "10m", "1h30m".
# A key that is commented out has a default that cannot be written as a value.
"""

_EXAMPLE_DEFAULTS = """\
# For all environments, unless an environment's own table says otherwise.
"""

_EXAMPLE_ENVIRONMENT = """\
# One environment; there may be several. A name has letters, digits, ".", "_" and "-".
# Every key of [defaults] may be set here as well.
"""

_EXAMPLE_TABLES = """\
# Maintenance windows: when changes may go live. Drift is reported at any time.
# [[environments.studio.windows]]
# cron = "0 3 * * *"
# duration = "2h"
# timezone = "Europe/Berlin"

# Notices: who is notified, and of what, by a program or over HTTP.
# [[environments.studio.notify]]
# on = ["failed", "hold-broken"]
# command = ["/usr/local/bin/tell", "--json"]
#
# [[environments.studio.notify]]
# on = ["changed"]
# url_file = "/etc/reconciler/webhook"
# token_file = "/etc/reconciler/webhook-token"
# timeout = "10s"
"""

_DOCS_HEAD = """\
# Configuration

<!-- Written by `python -m reconciler.config.reference` from the types; edit those. -->

Without a configuration file, Reconciler manages the project in the current folder with the
defaults below. It reads the first of these that applies:

1. the one that `--config FILE` names,
2. `$XDG_CONFIG_HOME/reconciler/config.toml` (by default `~/.config/reconciler/config.toml`),
3. `/etc/reconciler/config.toml`.

The smallest possible file:

```toml
[environments.studio]
pyproject = "/srv/studio"
```

[config.example.toml](../config.example.toml) shows every key.

- **Paths** may begin with `~`; relative ones are relative to the folder of the file. Control
  characters, such as line breaks, and names that are not UTF-8 are refused.
- **Durations** are strings of numbers with `ms`, `s`, `m`, `h` or `d`, the largest first:
  `"300ms"`, `"10m"`, `"1h30m"`.
- **Names** of packages, extras and groups are compared in their normalised form:
  `torch_vision` and `Torch-Vision` are the same.
- **Errors**: an unknown key, a wrong type or an impossible value is rejected. All errors are
  reported at once, each with file, line, key, what was expected and what to write instead:

  ```text
  /etc/reconciler/config.toml:12:1: environments.studio.interval: expected a duration \
like "300ms" or "10m", found 10. Write interval = "10m".
  ```

  With a bad configuration, the service does not start. On a reload, the running configuration
  stays in effect; `/status` and the log (`config.rejected`) say what is wrong, and
  `systemctl reload` fails.
"""

_DOCS_TABLES: dict[str, type[msgspec.Struct]] = {
    "`[service]`": ServiceConfig,
    "`[http]`": HttpConfig,
    "`[environments.NAME]` and `[defaults]`": EnvironmentConfig,
    "`[[environments.NAME.windows]]`": Window,
    "`[[environments.NAME.notify]]`": Notify,
}


def example_toml() -> str:
    """The content of config.example.toml."""
    fields = fields_of(EnvironmentConfig)
    own = [fields[name] for name in PER_ENVIRONMENT]
    shared = [field for name, field in fields.items() if name not in PER_ENVIRONMENT]
    parts = [
        _EXAMPLE_HEAD,
        f"# {_title(ServiceConfig)}\n[service]\n",
        *map(_example_key, fields_of(ServiceConfig).values()),
        f"# {_title(HttpConfig)}\n[http]\n",
        *map(_example_key, fields_of(HttpConfig).values()),
        f"{_EXAMPLE_DEFAULTS}[defaults]\n",
        *map(_example_key, shared),
        f"{_EXAMPLE_ENVIRONMENT}[environments.studio]\n",
        *map(_example_key, own),
        _EXAMPLE_TABLES,
    ]
    return "\n".join(parts)


def _example_key(field: Field) -> str:
    lines = _comment(f"{field.key.meaning} ({field.key.form.words})")
    if field.key.note:
        lines += _comment(field.key.note)
    default, example = field.default_text, field.example_text
    if field.key.default:
        lines += [*_comment(f"Default: {field.key.default}."), f"# {field.name} = {example}"]
    elif default is None:
        lines.append(f"{field.name} = {example}")
    else:
        lines += [f"# For example: {field.name} = {example}"] if example else []
        lines.append(f"{field.name} = {default}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=92,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def markdown() -> str:
    """The content of docs/configuration.md."""
    parts = [_DOCS_HEAD]
    for title, struct in _DOCS_TABLES.items():
        parts += [f"## {title}\n", f"{inspect.getdoc(struct)}\n", _docs_table(struct)]
        parts += [_docs_note(field) for field in fields_of(struct).values() if field.key.note]
    return "\n".join(parts)


def _docs_table(struct: type[msgspec.Struct]) -> str:
    rows = ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    rows += [_docs_row(field) for field in fields_of(struct).values()]
    return "\n".join(rows) + "\n"


def _docs_row(field: Field) -> str:
    default = (
        f"`{field.default_text}`" if field.default_text else field.key.default or "**required**"
    )
    meaning = field.key.meaning
    if field.example_text:
        meaning += f" Example: `{field.example_text}`"
    elif isinstance(field.key.form, Tables):
        meaning += " See below."
    cells = (f"`{field.name}`", field.key.form.words, default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _docs_note(field: Field) -> str:
    note = f"`{field.name}`: {field.key.note}"
    return textwrap.fill(note, width=92, break_on_hyphens=False) + "\n"


def _title(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").splitlines()[0]


def write(root: Path) -> None:
    """Write both files below `root`, the repository."""
    (root / "config.example.toml").write_text(example_toml(), encoding="utf-8")
    (root / "docs" / "configuration.md").write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
