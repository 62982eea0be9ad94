"""What an environment that does not exist yet is missing: everything that is declared.

Compares the project with an empty environment for the Python that runs us. Starts nothing
and creates nothing.
"""

from collections.abc import Mapping
from pathlib import Path

from packaging.markers import default_environment

from reconciler.config import EnvironmentConfig
from reconciler.environment.declaration import declared_by
from reconciler.environment.elsewhere import declared_elsewhere
from reconciler.environment.holding import holds_in
from reconciler.environment.interpreter import Interpreter
from reconciler.environment.snapshot import Snapshot, vault_of
from reconciler.state.adjustments import Adjustments
from reconciler.state.desired import BadFile
from reconciler.state.drift import diff
from reconciler.state.installed import Installed
from reconciler.state.rows import Drift
from reconciler.uv.settings import settings_for
from reconciler.uv.unsupported import unsupported


def snapshot_of_nothing(
    config: EnvironmentConfig, environ: Mapping[str, str], store: Path
) -> Snapshot:
    """What a look would find if the environment existed and were empty.

    Args:
        config: Its configuration.
        environ: The environment variables.
        store: The vault's folder: it may have what was held in an earlier environment.
    """
    interpreter = _to_be(config)
    markers, installed = interpreter.markers, Installed({})
    vault = vault_of(interpreter, store)
    holds = holds_in(config, installed, markers, vault)
    try:
        desired = declared_by(config, markers, environ)
        settings = settings_for(*desired.configured, holds, environ, desired.options)
    except BadFile as bad:
        return Snapshot(
            interpreter, None, bad.problem, installed, holds, {}, Drift(()), store=store
        )
    cautions = (*desired.notices, *unsupported(*desired.configured, environ))
    drift = diff(
        desired, installed, holds, {}, markers, Adjustments.of(settings),
        copied=vault.version_to_restore,
    )  # fmt: skip
    elsewhere = declared_elsewhere(config, desired)
    return Snapshot(
        interpreter,
        desired,
        None,
        installed,
        holds,
        {},
        drift,
        settings,
        cautions=cautions,
        elsewhere=elsewhere,
        store=store,
    )


def _to_be(config: EnvironmentConfig) -> Interpreter:
    """The Python that runs us, as if it were the environment's own."""
    markers = {key: str(value) for key, value in default_environment().items()}
    prefix = config.python.parent.parent
    site = prefix / "lib" / f"python{markers['python_version']}" / "site-packages"
    return Interpreter(
        executable=config.python,
        prefix=prefix,
        is_venv=True,
        externally_managed=False,
        markers=markers,
        purelib=site,
        platlib=site,
        scripts=prefix / "bin",
    )
