"""The configuration: read from TOML, checked as a whole, and never changed afterwards.

Importing this reads nothing; `load` reads one file. It never guesses: everything that is wrong
is raised as one `ConfigRejected`.
"""

from reconciler.config.address import Address, TcpAddress, UnixAddress
from reconciler.config.choices import Build, Mode, Occasion, OnError, OnHoldBroken, Proof, Update
from reconciler.config.configuration import Config, HttpConfig, ServiceConfig
from reconciler.config.duration import format_duration, parse_duration
from reconciler.config.environment import EnvironmentConfig, Notify, Window
from reconciler.config.load import load
from reconciler.config.locate import find, for_nothing, for_project
from reconciler.config.problem import ConfigRejected
from reconciler.log.levels import LogFormat, LogLevel

__all__ = [
    "Address",
    "Build",
    "Config",
    "ConfigRejected",
    "EnvironmentConfig",
    "HttpConfig",
    "LogFormat",
    "LogLevel",
    "Mode",
    "Notify",
    "Occasion",
    "OnError",
    "OnHoldBroken",
    "Proof",
    "ServiceConfig",
    "TcpAddress",
    "UnixAddress",
    "Update",
    "Window",
    "find",
    "for_nothing",
    "for_project",
    "format_duration",
    "load",
    "parse_duration",
]
