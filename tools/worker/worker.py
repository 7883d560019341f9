"""The test worker: started by tools.link under the user's interpreter, told by pipes.

    python -B worker.py A_IN A_OUT B_IN B_OUT FOLDER      (file descriptors; what the host removes at the end)

Two servers with one protocol (serve.py). The zygote (A, fresh.py) has imported pytest and nothing
of the project; it forks a child per candidate that imports everything anew, with the candidate's
files mounted over the old ones. The session (B, collected.py) has collected the suite once; it
forks a child per candidate that exchanges code objects.
Standard library and the user's pytest only, Python >= 3.8.
"""

import importlib.util
import json
import os
import resource
import shutil
import sys
import types


def sibling(name):
    """Loads a file beside this one under a name that no project has."""
    full = "_trm_worker_" + name
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location(full, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module


def enter(settings, namespaces, confine):
    """Namespaces and mounts for the worker as a whole. Returns the guards in place."""
    scratch, writable, limits = settings["scratch"], settings["writable"], settings["limits"]
    off = settings["guards_off"]
    active, landlock = set(), None
    if "namespaces" not in off:
        names = namespaces.probe_namespaces(settings["network"], scratch, writable, limits)
        if names:
            namespaces.unshare(names)
            if "pid" in names:
                inside_new_pid_namespace(settings, namespaces)
            active = namespaces.arrange(names, scratch, writable, limits)
    if "landlock" not in off and confine.landlock_abi():
        landlock = confine.Landlock(deny_tcp=not settings["network"] and "net" not in active)
        if "read_only" not in active:
            landlock.restrict([scratch] + writable)
    settings["overlay"] = "mount" in active and not namespaces.has_submounts(settings["root"])
    return {"active": active, "landlock": landlock}


def inside_new_pid_namespace(settings, namespaces):
    """Goes on as the first process of the namespace; its end ends everything in there."""
    child = os.fork()
    if child:
        for fd in settings["fds"]:
            os.close(fd)
        status = os.waitpid(child, 0)[1]
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 71)
    namespaces.die_with_parent()


def stay_behind(folder, fds):
    """Goes on in a child. What stays removes `folder` at the end if the host was killed and so cannot."""
    host = os.getppid()
    child = os.fork()
    if not child:
        return
    for fd in fds:
        os.close(fd)
    status = os.waitpid(child, 0)[1]
    if is_gone(host):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 72)


def is_gone(parent):
    """Whether the process that started this one has ended or is about to: it closes its pipes before it is gone."""
    if os.getppid() != parent:
        return True
    try:
        with open("/proc/%d/stat" % parent, "rb") as handle:
            fields = handle.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] in (b"Z", b"X") or bool(int(fields[6]) & 4)  # PF_EXITING


def become_pytest(settings):
    """Makes this process look like ``python -m pytest ARGS`` in the project."""
    os.chdir(settings["cwd"])
    settings["environment"] = {}
    shared = os.path.join(settings["scratch"], "shared")
    os.mkdir(shared, 0o700)
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = shared
    for name in ("COVERAGE_PROCESS_START", "PYTEST_XDIST_WORKER", "COV_CORE_SOURCE"):
        if name in os.environ:
            settings["environment"][name] = os.environ.pop(name)
    sys.path.insert(0, settings["cwd"])
    sys.dont_write_bytecode = True
    import pytest

    path = os.path.join(os.path.dirname(pytest.__file__), "__main__.py")
    sys.argv = [path] + settings["args"]
    main_module = types.ModuleType("__main__")
    main_module.__file__ = path
    main_module.__spec__ = importlib.util.spec_from_file_location("pytest.__main__", path)
    settings["ours"] = sys.modules["__main__"]  # kept alive
    sys.modules["__main__"] = main_module


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and sys.path[0] and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    fds = [int(text) for text in sys.argv[1:5]]
    for fd in fds:
        os.set_inheritable(fd, False)
    stay_behind(sys.argv[5], fds)
    namespaces, confine = sibling("namespaces"), sibling("confine")
    namespaces.die_with_parent()
    sibling("places")
    serve = sibling("serve")
    frames, first = serve.Frames(fds[0]), []
    while not first:
        still_open, first = frames.read()
        if not still_open:
            return 0
    settings = json.loads(first[0][2])
    settings["fds"] = fds
    guards = enter(settings, namespaces, confine)
    try:
        become_pytest(settings)
        for name in ("observe", "expectation", "failures", "swap", "direct"):
            sibling(name)
        session = sibling("session")
        sibling("items")
        sibling("slots")
        sibling("state")
        sibling("behave")
    except ImportError as error:
        serve.write_frame(fds[1], 0, b"X", {"error": "no-pytest", "message": str(error)})
        return 3
    fresh, collected = sibling("fresh"), sibling("collected")
    # The project may be something that pytest itself imports: no fork of ours is "before" it.
    tree = sys.modules["_trm_worker_observe"].Tree(settings["root"])
    settings["preloaded"] = tree.loaded()
    confine.become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pytest_version, python_version = session.versions()
    hello = {
        "pytest": pytest_version,
        "python": python_version,
        "interpreter": [sys.version, sys.executable, sys.prefix, sys.base_prefix],
        "path": sys.path,
        "guards": sorted(guards["active"]),
        "landlock": guards["landlock"].abi if guards["landlock"] else 0,
        "overlay": settings["overlay"],
    }
    serve.write_frame(fds[1], 0, b"H", hello)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(fds[0])
            os.close(fds[1])
            namespaces.die_with_parent()
            collected.run(settings, guards, fds[2:])
            code = 0
        except BaseException:
            import traceback

            text = traceback.format_exc()
            serve.write_frame(fds[3], 0, b"X", {"error": "crash", "message": text[-4000:]})
        finally:
            os._exit(code)
    os.close(fds[2])
    os.close(fds[3])
    zygote = fresh.Zygote(settings, guards)
    serve.Server(fds[0], fds[1], settings, zygote.body, keep=[child], prepare=zygote.prepare).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
