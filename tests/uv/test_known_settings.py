"""Of all settings and variables that uv knows, only the listed ones reach it, from any place.

uv itself is asked what it knows, so those that a later uv brings are tried as well.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from reconciler.uv.known_settings import (
    COUNTING,
    UNSUPPORTED,
    VARIABLES_UNSUPPORTED,
    Use,
    use_of,
    use_of_variable,
)
from reconciler.uv.settings import environ_for_uv
from tests.support.environments import run_uv, uv_binary


def words(table: str) -> set[str]:
    """The words of a table; what follows a `#` says why they stand together."""
    return {word for line in table.splitlines() for word in line.partition("#")[0].split()}


KEPT = words("""
    # Where packages come from
    index index-url extra-index-url find-links no-index index-strategy keyring-provider
    allow-insecure-host trusted-publishing native-tls system-certs offline cache-dir no-cache
    http-proxy https-proxy no-proxy concurrent-builds concurrent-downloads concurrent-installs
    # Which version of them
    exclude-newer exclude-newer-package prerelease prerelease-package resolution fork-strategy
    constraint-dependencies override-dependencies exclude-dependencies dependency-metadata
    no-sources no-sources-package
    # How they are built and put there
    require-build-hashes no-build no-build-package no-binary no-binary-package only-binary
    no-build-isolation no-build-isolation-package config-settings config-settings-package
    extra-build-dependencies extra-build-variables build-constraint-dependencies
    link-mode compile-bytecode
""")
VALUES = {
    "index": '[{ name = "a", url = "http://127.0.0.1:9/a", explicit = true }]',
    "index-url": '"http://127.0.0.1:9/simple"',
    "extra-index-url": '["http://127.0.0.1:9/simple"]',
    "find-links": '["."]',
    "index-strategy": '"unsafe-best-match"',
    "keyring-provider": '"disabled"',
    "allow-insecure-host": '["x.test:443"]',
    "trusted-publishing": '"never"',
    "cache-dir": '"cache"',
    "http-proxy": '"http://127.0.0.1:9"',
    "https-proxy": '"http://127.0.0.1:9"',
    "no-proxy": '["x.test"]',
    "concurrent-builds": "2",
    "concurrent-downloads": "2",
    "concurrent-installs": "2",
    "exclude-newer": '"2030-01-01T00:00:00Z"',
    "exclude-newer-package": '{ six = "2030-01-01T00:00:00Z" }',
    "prerelease": '"allow"',
    "resolution": '"highest"',
    "fork-strategy": '"fewest"',
    "prerelease-package": '{ six = "allow" }',
    "config-settings": '{ a = "b" }',
    "config-settings-package": '{ six = { a = "b" } }',
    "extra-build-dependencies": '{ six = ["wheel"] }',
    "extra-build-variables": '{ six = { A = "b" } }',
    "dependency-metadata": '[{ name = "six", version = "1.0", requires-dist = [] }]',
    "link-mode": '"copy"',
}
A_NAME = ('["Torch"]', '["NVIDIA_cublas_cu12", "torch"]')
REQUIREMENTS = ('["Torch"]', '[" torch (>=2.4)", "NVIDIA.cublas==1"]', '["torch @ file:///x"]')
IN_ONE_PACKAGE = (
    '[{ package = { name = "six" }, dependencies = ["Torch"] }]',
    '[{ package = { name = "torch" }, dependencies = ["six"] }]',
)
A_KEY = ('{ Torch = "2020-01-01" }', '{ nvidia-cudnn-cu12 = { a = "b" } }', '{ torch = ["six"] }')
NAMING_A_HOLD = {
    "no-build-package": A_NAME,
    "no-binary-package": A_NAME,
    "no-build-isolation-package": A_NAME,
    "no-sources-package": A_NAME,
    "only-binary": A_NAME,
    "no-binary": A_NAME,
    "exclude-dependencies": A_NAME + IN_ONE_PACKAGE,
    "override-dependencies": REQUIREMENTS + IN_ONE_PACKAGE,
    "constraint-dependencies": REQUIREMENTS,
    "build-constraint-dependencies": REQUIREMENTS,
    "dependency-metadata": ('[{ name = "Torch", requires-dist = [] }, { name = "nvidia_x" }]',),
    "exclude-newer-package": A_KEY,
    "prerelease-package": A_KEY,
    "config-settings-package": A_KEY,
    "extra-build-dependencies": A_KEY,
    "extra-build-variables": A_KEY,
}
"""Every way in which a kept setting can speak of a held package."""

OF_NO_PACKAGE = words("""
    index extra-index-url find-links allow-insecure-host no-proxy config-settings
""")
"""Kept settings that are lists or tables too, but of places or of words for a build backend."""


def value_of(level: str, key: str) -> str:
    """A value that uv takes, and that says nothing of a hold."""
    if key in VALUES:
        return VALUES[key]
    of_names = key.endswith(("-package", "-dependencies")) or (
        level == "pip" and key.endswith("-binary")
    )
    return '["six"]' if of_names else "true"


def refusal(folder: Path, text: str) -> str:
    """What real uv has against a uv.toml."""
    path = folder / "generated.toml"
    path.write_text(text)
    command = [str(uv_binary()), "cache", "dir", "--config-file", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert answer.returncode == 0 or answer.stderr
    complaints = [line for line in answer.stderr.splitlines() if "deprecated" not in line]
    return "\n".join(complaints)


@pytest.fixture
def known(tmp_path) -> list[tuple[str, str]]:
    """Level and name of every setting of this uv, as it lists them itself."""
    found = []
    for level, head in (("top", ""), ("pip", "[pip]\n")):
        _, listed, names = refusal(tmp_path, f"{head}nonsense = 1").partition("expected one of ")
        assert listed
        found += [(level, name) for name in re.findall(r"`([\w-]+)`", names) if name != "pip"]
    assert len(found) > 100
    return found


def written(level: str, key: str, value: str) -> str:
    return f"{key} = {value}\n" if level == "top" else f"[pip]\n{key} = {value}\n"


def become(level: str, key: str) -> str:
    """What a setting is called in what uv is given: pip's lists have names of their own."""
    pips = {"no-binary": "no-binary-package", "only-binary": "no-build-package"}
    return pips.get(key, key) if level == "pip" else key


def everywhere(layers, text: str) -> Iterator[tuple[str, dict]]:
    """What comes of a setting at each place that uv would read it from."""
    yield "[tool.uv]", layers.settings(text)
    named = layers.project.parent / "named.toml"
    for place in (
        layers.project / "uv.toml",
        layers.project.parent / "uv.toml",
        layers.user / "uv" / "uv.toml",
        layers.system / "uv" / "uv.toml",
        named,
    ):
        layers.write(place, text)
        environ = dict(layers.environ)
        if place == named:
            layers.environ["UV_CONFIG_FILE"] = str(named)
        yield str(place), layers.settings()
        layers.environ = environ
        place.unlink()


def test_only_the_listed_settings_are_kept_wherever_they_stand(layers, known):
    wrong = []
    for level, key in [*known, ("top", "unknown-to-uv"), ("pip", "exact")]:
        text = written(level, key, value_of(level, key))
        expected = [become(level, key)] if key in KEPT else []
        wrong += [
            f"{place}: {text}"
            for place, settings in everywhere(layers, text)
            if list(settings) != expected
        ]

    assert wrong == []
    assert KEPT - {key for _, key in known} == set()


def test_every_setting_of_uv_is_in_the_table(known):
    unsupported = {k for at, k in known if use_of(k, of_pip=at == "pip") is Use.UNSUPPORTED}

    assert unsupported - set(UNSUPPORTED) == set()
    assert set(UNSUPPORTED) - unsupported == set()
    assert COUNTING - {key for _, key in known} == set()


def test_no_setting_names_a_hold_wherever_it_stands(layers, known):
    wrong = [
        f"{place}: {text}"
        for level, key in known
        for value in NAMING_A_HOLD.get(key, ())
        if not (level == "top" and key == "no-binary")  # a yes or no there
        for text in [written(level, key, value)]
        for place, settings in everywhere(layers, text)
        if re.search("torch|nvidia", str(settings), re.IGNORECASE)
    ]

    assert wrong == []


def test_every_list_and_table_is_searched_for_holds(known):
    values = {key: value_of(level, key) for level, key in known if key in KEPT}
    of_many = {key for key, value in values.items() if value.startswith(("[", "{"))}

    assert of_many - OF_NO_PACKAGE == set(NAMING_A_HOLD)


@pytest.mark.parametrize("level", ["top", "pip"])
def test_uv_understands_every_setting_that_is_kept_in_its_new_place(layers, known, tmp_path, level):
    keys = [key for at, key in known if at == level and key in KEPT]
    head = "" if level == "top" else "[pip]\n"
    text = head + "".join(f"{key} = {value_of(level, key)}\n" for key in keys)

    settings = layers.settings(text)

    assert set(settings) == {become(level, key) for key in keys}
    assert refusal(tmp_path, tomli_w.dumps(settings)) == ""


def test_uv_refuses_what_it_does_not_know(tmp_path):
    # Else the test above would show nothing.
    assert "unknown field" in refusal(tmp_path, tomli_w.dumps({"only-binary": ["six"]}))


# Variables

VARIABLES_KEPT = words("""
    # Where packages come from
    UV_INDEX UV_DEFAULT_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_NO_INDEX
    UV_INDEX_STRATEGY UV_KEYRING_PROVIDER UV_INSECURE_HOST UV_NATIVE_TLS UV_SYSTEM_CERTS
    UV_OFFLINE UV_CACHE_DIR UV_NO_CACHE UV_HTTP_TIMEOUT UV_HTTP_CONNECT_TIMEOUT
    UV_HTTP_RETRIES UV_REQUEST_TIMEOUT UV_CREDENTIALS_DIR UV_NETRC UV_LOCK_TIMEOUT
    UV_CONCURRENT_BUILDS UV_CONCURRENT_DOWNLOADS UV_CONCURRENT_INSTALLS UV_GIT_LFS
    UV_INDEX_ROCM_USERNAME UV_INDEX_ROCM_PASSWORD HTTPS_PROXY NO_PROXY SSL_CERT_FILE
    SSL_CERT_DIR NETRC
    # Which version of them, how they are built and put there
    UV_EXCLUDE_NEWER UV_PRERELEASE UV_RESOLUTION UV_NO_BUILD UV_NO_BUILD_PACKAGE UV_NO_BINARY
    UV_NO_BINARY_PACKAGE UV_NO_BUILD_ISOLATION UV_LINK_MODE UV_COMPILE_BYTECODE CUDA_HOME
    ROCM_PATH CC MAX_JOBS
    UV_FORK_STRATEGY UV_REQUIRE_BUILD_HASHES UV_SKIP_WHEEL_FILENAME_CHECK UV_HIDE_BUILD_OUTPUT
    # The machine
    HOME PATH LANG XDG_CONFIG_HOME UV_PYTHON_INSTALL_DIR UV_TOOL_DIR
""")
VARIABLES_LEFT_OUT = words("""
    # They count, but without what they say of a hold: in the settings that say the same
    UV_OVERRIDE UV_CONSTRAINT UV_BUILD_CONSTRAINT UV_EXCLUDE UV_NO_SOURCES UV_NO_SOURCES_PACKAGE
    # They would replace what is held
    UV_REINSTALL UV_UPGRADE
    UV_TORCH_BACKEND UV_CUDA_DRIVER_VERSION UV_AMD_GPU_ARCHITECTURE UV_NO_DEPS UV_EXACT
    # They would lead to another environment, interpreter, project or configuration
    UV_SYSTEM_PYTHON UV_BREAK_SYSTEM_PACKAGES UV_PYTHON UV_PYTHON_PREFERENCE UV_MANAGED_PYTHON
    UV_NO_MANAGED_PYTHON UV_PYTHON_DOWNLOADS UV_PREFIX UV_TARGET UV_PROJECT UV_NO_PROJECT
    UV_WORKING_DIR UV_WORKING_DIRECTORY UV_PROJECT_ENVIRONMENT UV_CONFIG_FILE UV_NO_CONFIG
    UV_NO_SYSTEM_CONFIG UV_ENV_FILE UV_NO_ENV_FILE UV_ISOLATED VIRTUAL_ENV CONDA_PREFIX
    PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE __PYVENV_LAUNCHER__ PIP_CONSTRAINT
    PIP_INDEX_URL UV_VENV_CLEAR UV_VENV_RELOCATABLE UV_VENV_SEED
    # They would stop uv, or turn its answer into another one
    UV_REQUIRE_HASHES UV_NO_VERIFY_HASHES UV_DRY_RUN
    UV_PREVIEW UV_PREVIEW_FEATURES UV_NO_PROGRESS UV_CUSTOM_COMPILE_COMMAND
    UV_INDEX_ROCM_OTHER UV_LOCKED UV_FROZEN UV_NO_SYNC UV_NO_EDITABLE
    UV_NO_INSTALLER_METADATA
""")


def spoken_of() -> set[str]:
    """Every variable in uv's help on what has to do with environments."""
    asked = (("pip", "install"), ("pip", "uninstall"), ("pip", "compile"), ("pip", "sync"),
             ("venv",), ("sync",), ("run",), ("lock",), ("add",), ("export",))  # fmt: skip
    helps = [run_uv("help", "--no-pager", *words) for words in asked]
    found = {name for text in helps for name in re.findall(r"env: [`\"]*(\w+)", text)}
    assert len(found) > 50
    assert {"UV_CONSTRAINT", "UV_NO_SOURCES", "UV_PYTHON_DOWNLOADS"} <= found
    return found


def test_only_the_listed_variables_are_passed_on():
    names = spoken_of() | VARIABLES_KEPT | VARIABLES_LEFT_OUT

    assert {name for name in names if environ_for_uv({name: "x"}) == {name: "x"}} == VARIABLES_KEPT


def test_every_variable_of_uv_is_in_the_table():
    unsupported = {n for n in spoken_of() if use_of_variable(n) is Use.UNSUPPORTED}

    assert unsupported - set(VARIABLES_UNSUPPORTED) == set()
    assert use_of_variable("UV_BROUGHT_BY_A_LATER_UV") is Use.UNSUPPORTED
