"""pytest --trm-fix: after a red run, let trm-agent look for a verified fix.

Lives in the project's environment, so: one file, Python 3.8, the standard library, and no import that pytest has not made
already unless the flag is given. trm-agent itself is a program found on PATH; nothing of it is imported here.
"""

import os

SWITCH = (
    "PYTEST_TRM_FIX"  # 0: off. trm-agent sets it, or addopts with the flag would call it for ever
)


def pytest_addoption(parser):
    parser.getgroup("trm-agent").addoption(
        "--trm-fix",
        action="store_true",
        help="After a red run, look for a fix with trm-agent. Nothing is written unasked.",
    )


def pytest_configure(config):
    worker_of_xdist = hasattr(config, "workerinput")
    if config.getoption("trm_fix") and os.environ.get(SWITCH) != "0" and not worker_of_xdist:
        config.pluginmanager.register(Offer(), "trm-fix-offer")


class Offer:
    """Waits for the end of the run, when pytest has said all it has to say."""

    red = interrupted = False

    def pytest_keyboard_interrupt(self, excinfo):
        # pytest raises a subclass of its own for errors of collection, which are as good a reason as a failure
        self.interrupted = excinfo.type is KeyboardInterrupt

    def pytest_sessionfinish(self, session):
        self.red = bool(session.testsfailed)

    def pytest_unconfigure(self, config):
        if self.red and not self.interrupted:
            capture = config.pluginmanager.getplugin("capturemanager")
            if capture:
                capture.suspend(
                    in_=True
                )  # trm-agent asks in a terminal, so it needs the real stdin
            offer(config)


def offer(config):
    import shutil
    import subprocess
    import sys

    beside = os.path.dirname(sys.executable)
    program = shutil.which("trm-agent") or shutil.which("trm-agent", path=beside)
    if program is None:
        print(
            "trm-fix: trm-agent is not on PATH; uv tool install it, or pipx install",
            file=sys.stderr,
        )
        return
    command = [program, "fix", "--no-tui", "--python", sys.executable, str(config.rootpath), "--"]
    command += [absolute(argument, config) for argument in config.invocation_params.args
                if argument != "--trm-fix"]  # fmt: skip
    print(flush=True)
    subprocess.call(command, env=dict(os.environ, **{SWITCH: "0"}))


def absolute(argument, config):
    """An argument that names a file, as it is seen from anywhere: trm-agent works from the project's root."""
    argument = os.fspath(argument)
    path, *test = argument.split("::")
    full = os.path.join(str(config.invocation_params.dir), path)
    if path and not path.startswith("-") and os.path.exists(full):
        return "::".join([full, *test])
    return argument
