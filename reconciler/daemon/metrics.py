"""The service in numbers, for Prometheus: what passes did, and how each environment is.

No package is named in a label: names would make a new time series each, without end.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from reconciler import status
from reconciler.status import ConditionType, EnvironmentStatus, PackageStatus, Result

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_CONDITION_STATES = ("True", "False", "Unknown")
_SUCCESS = frozenset({Result.UNCHANGED, Result.CHANGED})


class StatusSource(Protocol):
    """Whoever knows the status."""

    def status(self) -> status.Status:
        """The latest one."""


class Metrics:
    """Counts what happens, and shows it beside what is."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._passes = Counter(
            "reconciler_passes",
            "Passes that ended, by result.",
            ["environment", "result"],
            registry=self._registry,
        )
        self._duration = Histogram(
            "reconciler_pass_duration_seconds",
            "How long passes took.",
            ["environment"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._uv_failures = Counter(
            "reconciler_uv_failures",
            "Passes that failed, or that left requirements out, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._refused = Counter(
            "reconciler_requests_refused",
            "Requests and connections that were refused, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._last_success: dict[str, float] = {}

    def observe_pass(self, environment: str, outcome: status.PassStatus) -> None:
        """Count a pass that ended; from any thread."""
        if outcome.result is None:
            return
        # All results at once: a series that begins at 1 has no rate.
        counters = {result: self._passes.labels(environment, result) for result in Result}
        counters[outcome.result].inc()
        self._duration.labels(environment).observe(outcome.duration_seconds or 0.0)
        if outcome.result in _SUCCESS:
            self._last_success[environment] = _ended_at(outcome)

    def observe_uv_failure(self, reason: str) -> None:
        """Count a pass in which something failed; `reason` is one of a closed set of words."""
        self._uv_failures.labels(reason).inc()

    def observe_refusal(self, reason: str) -> None:
        """Count a refused request or connection; `reason` is one of a closed set of words."""
        self._refused.labels(reason).inc()

    def render(self, source: StatusSource) -> bytes:
        """Everything, in Prometheus' text format (version 0.0.4)."""
        return generate_latest(_Exposition(self._registry, source.status(), self._last_success))


class _Exposition(CollectorRegistry):
    """What is counted, and what one status says, as one registry."""

    def __init__(
        self,
        counted: CollectorRegistry,
        current: status.Status,
        last_success: dict[str, float],
    ) -> None:
        super().__init__(auto_describe=False)
        self._counted = counted
        self._current = current
        self._succeeded = last_success

    def collect(self) -> Iterable[Metric]:
        for metric in self._counted.collect():
            # When a counter was made is told by the service's start already.
            metric.samples = [
                sample for sample in metric.samples if not sample.name.endswith("_created")
            ]
            yield metric
        yield _build_info(self._current.service)
        yield GaugeMetricFamily(
            "reconciler_ready", "Whether the service can do its job.", value=self._current.ready
        )
        yield from _environments(self._current.environments, self._succeeded)


def _build_info(service: status.ServiceStatus) -> Metric:
    info = InfoMetricFamily("reconciler_build", "What runs.")
    info.add_metric([], {"version": service.version, "uv_version": service.uv or ""})
    return info


def _environments(
    environments: tuple[EnvironmentStatus, ...], last_success: dict[str, float]
) -> Iterator[Metric]:
    gauge = _Gauges(environments)
    yield gauge.each(
        "reconciler_suspended",
        "Whether the environment is left alone until someone resumes.",
        lambda environment: float(environment.suspended),
    )
    yield gauge.each(
        "reconciler_atomic",
        "Whether changes go live in one step.",
        lambda environment: float(environment.atomic),
    )
    yield gauge.each(
        "reconciler_holds_intact",
        "Whether every held package is as it was put there.",
        lambda environment: float(all(hold.intact for hold in environment.holds)),
    )
    yield gauge.each(
        "reconciler_held_back_packages",
        "Packages that a hold keeps older than they could be.",
        lambda environment: float(len(environment.held_back)),
    )
    yield gauge.each(
        "reconciler_generation",
        "The number of the live tree.",
        lambda environment: float(environment.generation),
    )
    yield gauge.each(
        "reconciler_last_success_timestamp_seconds",
        "When the last pass without a failure ended.",
        lambda environment: last_success.get(environment.name) or _known_success(environment),
    )
    yield gauge.each(
        "reconciler_next_check_timestamp_seconds",
        "When the next pass begins unless something happens before.",
        lambda environment: _seconds(environment.next_check_at),
    )
    yield from _by_label(environments)


def _by_label(environments: tuple[EnvironmentStatus, ...]) -> Iterator[Metric]:
    packages = GaugeMetricFamily(
        "reconciler_packages", "Packages by status.", labels=["environment", "status"]
    )
    holds = GaugeMetricFamily(
        "reconciler_holds", "Held packages by state.", labels=["environment", "state"]
    )
    conditions = GaugeMetricFamily(
        "reconciler_condition",
        "The state of each condition: 1 for the one that it is in.",
        labels=["environment", "type", "status"],
    )
    for environment in environments:
        name = environment.name
        for state in PackageStatus:
            count = sum(package.status is state for package in environment.packages)
            packages.add_metric([name, state], count)
        intact = sum(hold.intact for hold in environment.holds)
        holds.add_metric([name, "intact"], intact)
        holds.add_metric([name, "broken"], len(environment.holds) - intact)
        known = {condition.type: condition.status for condition in environment.conditions}
        for kind in ConditionType:
            current = known.get(kind, "Unknown")
            for condition in _CONDITION_STATES:
                conditions.add_metric([name, kind, condition], condition == current)
    yield from (packages, holds, conditions)


class _Gauges:
    """Makes gauges with one sample per environment; one that is not known is left out."""

    def __init__(self, environments: tuple[EnvironmentStatus, ...]) -> None:
        self._environments = environments

    def each(self, name: str, words: str, value: "_Value") -> Metric:
        family = GaugeMetricFamily(name, words, labels=["environment"])
        for environment in self._environments:
            found = value(environment)
            if found is not None:
                family.add_metric([environment.name], found)
        return family


class _Value(Protocol):
    def __call__(self, environment: EnvironmentStatus, /) -> float | None: ...


def _known_success(environment: EnvironmentStatus) -> float | None:
    last = environment.last_pass
    return _ended_at(last) if last is not None and last.result in _SUCCESS else None


def _ended_at(outcome: status.PassStatus) -> float:
    return (_seconds(outcome.started_at) or 0.0) + (outcome.duration_seconds or 0.0)


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()
