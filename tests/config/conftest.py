"""Fixtures that read a configuration from a text."""

import pytest

from reconciler.config import ConfigRejected, load

ENV = {"HOME": "/home/alice", "STATE_DIRECTORY": "/state"}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config.toml"


@pytest.fixture
def read(file):
    """Load a text as configuration."""

    def read(text):
        file.write_text(text)
        return load(file, ENV)

    return read


@pytest.fixture
def problems(read, file):
    """The problems of a text, as `LINE:COLUMN: KEY: REASON. MEND`."""

    def problems(text):
        with pytest.raises(ConfigRejected) as rejected:
            read(text)
        return [str(it).removeprefix(f"{file}:").lstrip() for it in rejected.value.problems]

    return problems


@pytest.fixture
def studio(read):
    """The environment that says one thing more than it must."""

    def studio(line, head=""):
        config = read(f'{head}\n[environments.studio]\npyproject = "p"\n{line}')
        return config.environments["studio"]

    return studio
