"""The reference and the example file are those that the types give, and they are true."""

import re
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig, HttpConfig, ServiceConfig, load
from reconciler.config.environment import Notify, Window
from reconciler.config.keys import fields_of
from reconciler.config.reference import example_toml, markdown

ROOT = Path(__file__).parents[2]
STALE = "run `python -m reconciler.config.reference` in the repository"
ENV = {"HOME": "/home/alice", "STATE_DIRECTORY": "/state"}
STRUCTS = [ServiceConfig, HttpConfig, EnvironmentConfig, Window, Notify]


def test_the_documentation_is_up_to_date():
    assert (ROOT / "docs/configuration.md").read_text() == markdown(), STALE


def test_the_example_is_up_to_date():
    assert (ROOT / "config.example.toml").read_text() == example_toml(), STALE


def test_the_example_says_the_defaults():
    config = load(ROOT / "config.example.toml", ENV)

    assert config.service == ServiceConfig(state_dir=Path("/state"))
    assert config.http == HttpConfig()
    assert config.environments == {
        "studio": EnvironmentConfig(
            name="studio",
            pyproject=Path("/srv/studio/pyproject.toml"),
            python=Path("/srv/studio/.venv/bin/python"),
        )
    }


def test_every_field_is_a_described_key():
    keys = [(struct, field) for struct in STRUCTS for field in fields_of(struct).values()]
    fields = {(s.__name__, name) for s in STRUCTS for name in s.__struct_fields__}

    derived = {("EnvironmentConfig", "name")}
    assert {(struct.__name__, field.name) for struct, field in keys} == fields - derived
    assert [field.name for _, field in keys if not field.key.meaning.endswith(".")] == []


def test_the_example_shows_every_key():
    shown = set(re.findall(r"^(?:# )?(\w+) = ", example_toml(), re.MULTILINE))

    keys = {name for it in (ServiceConfig, HttpConfig, EnvironmentConfig) for name in fields_of(it)}
    assert keys - shown == set()


def commented_out():
    """The keys of the example that are commented out, and the examples for those that are not."""
    pattern = r"^# (?:For example: )?(\w+) = (.*)$"
    plain = example_toml().split("# Maintenance windows: ")[0]
    return [match.group(1, 2) for match in re.finditer(pattern, plain, re.MULTILINE)]


def test_what_is_commented_out_can_be_written(tmp_path):
    keys = commented_out()

    assert len(keys) >= 10
    assert [key for key in keys if not reads_back(tmp_path / "config.toml", *key)] == []


def reads_back(file, name, value):
    """Whether a key of the example, no longer commented out, means what is written there."""
    lines = [line for line in example_toml().splitlines() if not line.startswith(f"{name} = ")]
    at = next(n for n, line in enumerate(lines) if re.match(rf"# (For example: )?{name} = ", line))
    lines[at] = f"{name} = {value}"
    file.write_text("\n".join(lines))

    config = load(file, ENV)

    (environment,) = config.environments.values()
    (owner,) = (it for it in (config.service, config.http, environment) if hasattr(it, name))
    return fields_of(type(owner))[name].key.form.write(getattr(owner, name)).rstrip("/") in {
        value,
        value.replace('.venv"', '.venv/bin/python"'),
    }


def test_the_tables_that_are_commented_out_can_be_written(tmp_path):
    head, tables = example_toml().split("# Maintenance windows: ", maxsplit=1)
    lines = [re.sub(r"^# (?=\[|\w+ = )", "", line) for line in tables.splitlines()[1:]]
    file = tmp_path / "config.toml"
    file.write_text(head + "\n".join(lines))

    environment = load(file, ENV).environments["studio"]

    assert [window.timezone for window in environment.windows] == ["Europe/Berlin"]
    assert [bool(notice.command) for notice in environment.notify] == [True, False]


def test_the_example_explains_what_else_to_hold():
    comment = example_toml().split("\nhold = ")[0].rsplit("\n\n", maxsplit=1)[1]

    for name in ("torchaudio", "triton", "pytorch-triton-rocm", "xformers", "nvidia-*"):
        assert name in comment


def test_the_examples_of_the_documentation_can_be_written(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", markdown(), re.DOTALL)
    assert blocks
    for block in blocks:
        file = tmp_path / "config.toml"
        file.write_text(block)
        assert load(file, ENV).environments


def test_the_message_of_the_documentation_is_a_real_one(tmp_path):
    (message,) = re.findall(r"```text\n  /etc/reconciler/config.toml:12:1: (.*?)\n", markdown())
    file = tmp_path / "config.toml"
    file.write_text('[environments.studio]\npyproject = "p"' + "\n" * 10 + "interval = 10")

    with pytest.raises(Exception, match=re.escape(f"{file}:12:1: {message}")):
        load(file, ENV)
