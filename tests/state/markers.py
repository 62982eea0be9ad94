"""The PEP 508 environment of a target, for tests that need no interpreter."""

LINUX_39 = {
    "implementation_name": "cpython",
    "implementation_version": "3.9.5",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "6.1.0-18-amd64",
    "platform_system": "Linux",
    "platform_version": "#1 SMP Debian",
    "python_full_version": "3.9.5",
    "python_version": "3.9",
    "sys_platform": "linux",
}
"""Not the Python that runs the tests, so that a marker read in the wrong place shows."""
