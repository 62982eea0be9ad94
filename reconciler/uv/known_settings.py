"""What becomes of each setting and variable of uv: the one table, so that none falls through.

A setting counts, as uv understands it (what it says about a held package is left out), or it is
named to the user as not supported, with what to do instead, or it concerns something else than
installing packages. tests/uv/test_known_settings.py holds the table against uv's own lists.
"""

from enum import Enum, auto


class Use(Enum):
    """What becomes of a setting."""

    COUNTS = auto()
    """It is passed on to uv, or followed by us."""
    UNSUPPORTED = auto()
    """It does not count, and the user is told why."""
    ELSEWHERE = auto()
    """It has nothing to do with packages that `uv pip install` puts into this environment."""


COUNTING = frozenset({
    "index", "index-url", "extra-index-url", "find-links", "no-index", "index-strategy",
    "keyring-provider", "allow-insecure-host", "trusted-publishing", "native-tls", "system-certs",
    "offline", "cache-dir", "no-cache", "http-proxy", "https-proxy", "no-proxy",
    "concurrent-builds", "concurrent-downloads", "concurrent-installs",
    "exclude-newer", "exclude-newer-package", "prerelease", "prerelease-package", "resolution",
    "fork-strategy", "require-build-hashes", "no-sources", "no-sources-package",
    "no-build", "no-build-package", "no-binary", "no-binary-package",
    "no-build-isolation", "no-build-isolation-package", "config-settings",
    "config-settings-package", "extra-build-dependencies", "extra-build-variables",
    "build-constraint-dependencies", "constraint-dependencies", "override-dependencies",
    "exclude-dependencies", "dependency-metadata", "link-mode", "compile-bytecode",
})  # fmt: skip
"""What the uv.toml has that we give to uv."""

_FOLLOWED = frozenset({"pip", "sources", "workspace"})
PARTS_OF_PROJECT = frozenset({"extra", "all-extras", "no-extra", "group"})
"""Settings of [tool.uv.pip] that choose parts of the project; its own file is read for them."""
_FOLLOWED_OF_PIP = frozenset({"only-binary", *PARTS_OF_PROJECT})
"""What we follow ourselves, or write as a setting of another name."""

_ELSEWHERE = frozenset({
    # Creating environments, and the Python to do it with
    "python-preference", "python-downloads", "python-install-mirror", "pypy-install-mirror",
    "graalpy-install-mirror", "pyodide-install-mirror", "python-downloads-json-url",
    # uv lock, sync, run, add and publish
    "publish-url", "check-url", "add-bounds", "audit", "environments", "required-environments",
    "minimum-libc-version", "conflicts", "managed", "package", "default-groups",
    "dependency-groups", "dev-dependencies",
    # How this project itself is built
    "build-backend", "cache-keys",
})  # fmt: skip
_ELSEWHERE_OF_PIP = frozenset({
    # uv pip compile
    "output-file", "no-strip-extras", "no-strip-markers", "no-annotate", "no-header",
    "custom-compile-command", "generate-hashes", "universal", "no-emit-package",
    "emit-index-url", "emit-find-links", "emit-build-options", "emit-marker-expression",
    "emit-index-annotation", "annotation-style",
    # A pyproject.toml has no hashes; what `strict` checks is always checked; nothing to do is fine
    "verify-hashes", "strict", "allow-empty-requirements",
})  # fmt: skip

_PLACE = (
    "Reconciler's own configuration says which environment it manages",
    "Set `python` in [environments.NAME].",
)
_REINSTALL = (
    "a reinstallation would replace held packages, and would never be done",
    "Remove it; broken packages are installed again anyway.",
)
_TARGET = (
    "Reconciler resolves for the environment's own Python and platform",
    "Remove it, or use an environment of that Python.",
)
_HASHES = (
    "hashes are not checked",
    "Remove it; a pyproject.toml has no hashes, and `uv pip install` would refuse it.",
)
_TORCH = (
    "it lets uv choose the build of torch, which is held",
    "Remove it; for other packages, use `[[tool.uv.index]]` with `explicit = true`.",
)
_PREVIEW = (
    "uv's preview features could change what a pass relies on",
    "Remove it, or use `uv pip` yourself for what needs it.",
)

UNSUPPORTED = {
    "required-version": (
        "Reconciler drives the uv that is installed with it",
        "Install that version of uv beside Reconciler, or set `uv` in [service].",
    ),
    "preview": _PREVIEW,
    "preview-features": _PREVIEW,
    "upgrade": (
        "Reconciler's own configuration says when packages are upgraded",
        'Set `update = "latest"` in [environments.NAME].',
    ),
    "upgrade-package": (
        "Reconciler's own configuration says when packages are upgraded",
        'Require a newer version of that package, or set `update = "latest"`.',
    ),
    "reinstall": _REINSTALL,
    "reinstall-package": _REINSTALL,
    "torch-backend": _TORCH,
    "python": _PLACE,
    "system": _PLACE,
    "break-system-packages": _PLACE,
    "target": _PLACE,
    "prefix": _PLACE,
    "python-version": _TARGET,
    "python-platform": _TARGET,
    "no-deps": (
        "dependencies are always installed",
        "Use `exclude-dependencies` for those that you do not want.",
    ),
    "require-hashes": _HASHES,
}
"""Settings of [tool.uv] and [tool.uv.pip] that do not count: why, and what to do."""

VARIABLES_PASSED = frozenset({
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
    "UV_NO_INDEX", "UV_INDEX_STRATEGY", "UV_KEYRING_PROVIDER", "UV_INSECURE_HOST",
    "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE", "UV_CACHE_DIR", "UV_NO_CACHE",
    "UV_HTTP_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_HTTP_PROXY",
    "UV_HTTPS_PROXY", "UV_NO_PROXY", "UV_REQUEST_TIMEOUT", "UV_CONCURRENT_BUILDS",
    "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_INSTALLS", "UV_EXCLUDE_NEWER", "UV_PRERELEASE",
    "UV_RESOLUTION", "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE", "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD_ISOLATION", "UV_LINK_MODE", "UV_GIT_LFS",
    "UV_COMPILE_BYTECODE", "UV_COMPILE_BYTECODE_TIMEOUT", "UV_CREDENTIALS_DIR", "UV_NETRC",
    "UV_LOCK_TIMEOUT", "UV_PYTHON_INSTALL_DIR", "UV_TOOL_DIR", "UV_FORK_STRATEGY",
    "UV_REQUIRE_BUILD_HASHES", "UV_SKIP_WHEEL_FILENAME_CHECK", "UV_HIDE_BUILD_OUTPUT",
    "UV_INSECURE_NO_ZIP_VALIDATION", "UV_REQUIRE_METADATA_RANGE_REQUESTS",
    "UV_CONCURRENT_CACHE_READS", "UV_LEGACY_TAR_BACKEND", "UV_GITHUB_FAST_PATH_URL",
    "UV_NO_GITHUB_FAST_PATH", "UV_NO_HF_TOKEN", "UV_S3_ENDPOINT_URL", "UV_GCS_ENDPOINT_URL",
    "UV_AZURE_ENDPOINT_URL", "UV_API_KEY", "UV_AUTH_TOKEN", "UV_ASTRAL_MIRROR_URL",
    "UV_MALWARE_CHECK", "UV_MALWARE_CHECK_URL",
})  # fmt: skip
"""Variables that uv sees as they are: they say where packages come from, and how."""

FILES_OF = {
    "UV_CONSTRAINT": "constraint-dependencies",
    "UV_OVERRIDE": "override-dependencies",
    "UV_BUILD_CONSTRAINT": "build-constraint-dependencies",
    "UV_EXCLUDE": "exclude-dependencies",
}
"""Variables that name files of requirements, and the setting that says the same."""

_VARIABLES_FOLLOWED = frozenset({
    *FILES_OF, "UV_NO_SOURCES", "UV_NO_SOURCES_PACKAGE",
    "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_NO_SYSTEM_CONFIG",
})  # fmt: skip

_VARIABLES_ELSEWHERE = frozenset({
    # Creating environments, and the Python to do it with
    "UV_PYTHON_PREFERENCE", "UV_MANAGED_PYTHON", "UV_NO_MANAGED_PYTHON", "UV_PYTHON_DOWNLOADS",
    "UV_PYTHON_DOWNLOADS_JSON_URL", "UV_LIBC", "UV_VENV_CLEAR", "UV_VENV_RELOCATABLE",
    "UV_VENV_SEED", "UV_PYPY_INSTALL_MIRROR", "UV_GRAALPY_INSTALL_MIRROR",
    "UV_PYODIDE_INSTALL_MIRROR",
    # uv lock, sync, run, add, init, export, tool, audit and self
    "UV_PROJECT_ENVIRONMENT", "UV_ENV_FILE", "UV_NO_ENV_FILE", "UV_ISOLATED", "UV_LOCKED",
    "UV_FROZEN", "UV_NO_SYNC", "UV_DEV", "UV_NO_DEV", "UV_NO_GROUP", "UV_NO_DEFAULT_GROUPS",
    "UV_NO_PROJECT", "UV_UPLOAD_HTTP_TIMEOUT", "UV_SHOW_RESOLUTION", "UV_CUSTOM_COMPILE_COMMAND",
    "UV_GITHUB_TOKEN", "UV_DOWNLOAD_URL", "UV_UNMANAGED_INSTALL", "UV_DISABLE_UPDATE",
    # What uv prints, and how it works inside; set by uv for what it starts
    "UV_NO_PROGRESS", "UV_NO_WRAP", "UV_LOG_CONTEXT", "UV_STACK_SIZE", "UV_COLOR",
    "UV_RUN_RECURSION_DEPTH", "UV_RUN_MAX_RECURSION_DEPTH", "UV_RUN_RLIMIT_NOFILE",
    # Only read where `torch-backend` is
    "UV_CUDA_DRIVER_VERSION", "UV_AMD_GPU_ARCHITECTURE",
    # A pyproject.toml has no hashes
    "UV_NO_VERIFY_HASHES",
})  # fmt: skip
_FAMILIES_ELSEWHERE = ("UV_PUBLISH_", "UV_PYTHON_", "UV_TOOL_", "UV_INIT_", "UV_INSTALL_",
                       "UV_INSTALLER_", "UV_NO_INSTALL_", "UV_ONLY_INSTALL_", "UV_INTERNAL_",
                       "UV_TEST_", "UV_PYX_")  # fmt: skip

_OTHER_PROJECT = (
    "Reconciler's own configuration says which project it follows",
    "Set `pyproject` in [environments.NAME].",
)
VARIABLES_UNSUPPORTED = {
    "UV_REQUIRE_HASHES": _HASHES,
    "UV_TORCH_BACKEND": _TORCH,
    "UV_PREVIEW": _PREVIEW,
    "UV_PREVIEW_FEATURES": _PREVIEW,
    "UV_SYSTEM_PYTHON": _PLACE,
    "UV_BREAK_SYSTEM_PACKAGES": _PLACE,
    "UV_PYTHON": _PLACE,
    "UV_PROJECT": _OTHER_PROJECT,
    "UV_WORKING_DIR": _OTHER_PROJECT,
    "UV_WORKING_DIRECTORY": _OTHER_PROJECT,
    "UV_NO_EDITABLE": (
        "what the project declares as editable is installed as editable",
        "Write `editable = false` in [tool.uv.sources].",
    ),
    "UV_NO_INSTALLER_METADATA": (
        "Reconciler reads where a package comes from in these files",
        "Remove it.",
    ),
}
"""Variables that do not count: why, and what to do."""

UNKNOWN = ("Reconciler does not know it", "Remove it, or ask for support of it.")


def use_of(name: str, *, of_pip: bool = False) -> Use:
    """What becomes of a setting of [tool.uv], or of [tool.uv.pip]; an unknown one is named."""
    followed, elsewhere = _FOLLOWED, _ELSEWHERE
    if of_pip:
        followed, elsewhere = _FOLLOWED_OF_PIP, _ELSEWHERE_OF_PIP
    if name in COUNTING or name in followed:
        return Use.COUNTS
    return Use.ELSEWHERE if name in elsewhere else Use.UNSUPPORTED


def is_passed_on(variable: str) -> bool:
    """Whether uv sees a variable as it is."""
    if variable.startswith("UV_INDEX_") and variable.endswith(("_USERNAME", "_PASSWORD")):
        return True
    return variable in VARIABLES_PASSED


def use_of_variable(name: str) -> Use:
    """What becomes of one of uv's variables; an unknown one is named."""
    if is_passed_on(name) or name in _VARIABLES_FOLLOWED:
        return Use.COUNTS
    if name in VARIABLES_UNSUPPORTED:
        return Use.UNSUPPORTED
    other = name in _VARIABLES_ELSEWHERE or name.startswith(_FAMILIES_ELSEWHERE)
    return Use.ELSEWHERE if other else Use.UNSUPPORTED
