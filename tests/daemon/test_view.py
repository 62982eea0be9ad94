"""What the status says of an environment, from what is known of it."""

from msgspec.structs import replace

from reconciler.daemon.known import Known
from reconciler.daemon.view import environment_status
from reconciler.status import PassDetail, Phase, Reason, Result
from reconciler.web.routes.fixed import summary
from tests.support.environments import install
from tests.support.passes import environment_for
from tests.support.wheels import make_wheel


def test_nothing_declared_here_but_elsewhere_is_not_in_sync(project, venv):
    project.write(extra='[project.optional-dependencies]\ngpu = ["alpha"]\n')
    (project.directory / "requirements.txt").write_text("alpha\n")
    environment = environment_for(project, prune=True)
    known = Known(environment.config, snapshot=environment.look())
    shown = environment_status(known, None, 0.0)
    [ready] = [c for c in shown.conditions if c.type == "Ready"]
    assert (shown.phase, ready.status, ready.reason) == (
        Phase.DEGRADED, "False", Reason.NOTHING_DECLARED,
    )  # fmt: skip
    for words in ("the extras `gpu`", '`extras = ["gpu"]`', "`requirements.txt` beside it"):
        assert words in ready.message
    done = PassDetail(id=1, trigger="manual", result=Result.UNCHANGED, started_at="2026-01-01")
    fixed = summary(shown, done)
    assert not fixed.success
    assert fixed.message.startswith("Nothing was changed: nothing is declared here")

    selected = environment_for(project, extras=("gpu",))
    known = replace(known, snapshot=selected.look())
    assert environment_status(known, None, 0.0).phase is Phase.DRIFTED


def test_counts_are_of_packages_and_a_row_has_its_origins(project, venv, wheelhouse):
    install(venv, make_wheel(wheelhouse, "alpha", "1.0", requires=["beta>=2"]),
            make_wheel(wheelhouse, "beta", "1.0"))  # fmt: skip
    extra = (
        '[project.optional-dependencies]\nmore = ["alpha", "beta<3", "alpha>=1", "studio[more]"]\n'
    )
    project.write(["alpha", "beta", "alpha<2"], extra=extra)
    environment = environment_for(project, extras=("more",))
    shown = environment_status(Known(environment.config, snapshot=environment.look()), None, 0.0)
    alpha, beta = shown.packages
    assert (alpha.required, alpha.status, beta.required, beta.status) == (
        "<2,>=1", "ok", "<3", "mismatch",
    )  # fmt: skip
    assert beta.message == "1.0 is installed, >=2 is required; required by alpha 1.0"
    assert beta.required_by is None, "the project declares it, too"
    assert beta.origins == ("project.dependencies[1]", "project.optional-dependencies.more[1]")
    assert "1 of 2 requirements satisfied" in shown.conditions[0].message
