"""The program that imports modules in the target's Python; standard library only, 3.8 and newer.

It reads what to do from standard input as JSON: `first`, the modules that it imports itself,
because several others need them; `then`, the modules for each of which it forks; and the limits
`seconds`, `bytes` (resident memory) and `workers`. It says when each begins and ends, one JSON
object a line, on a descriptor that no imported module knows: whatever they print goes nowhere.
"""

SCRIPT = r"""
import os
answer = os.dup(1)
nowhere = os.open(os.devnull, os.O_RDWR)
os.dup2(nowhere, 1)
os.dup2(nowhere, 2)

import sys

# Of the standard library alone, whatever shadows it in this tree; and forgotten again, so that a
# module finds what it would find in a program of its own.
path, known = sys.path[:], set(sys.modules)
standard = os.path.dirname(os.__file__)
sys.path[:] = [standard] + [one for one in path if one.endswith(("lib-dynload", ".zip"))]
import faulthandler, json, re, resource, select, signal, time
sys.path[:] = path
for loaded in set(sys.modules) - known:
    del sys.modules[loaded]

given = json.load(sys.stdin)
os.dup2(nowhere, 0)

# Modules may replace these for everyone else (gevent does).
fork, waitpid, kill, killpg, setsid = os.fork, os.waitpid, os.kill, os.killpg, os.setsid
getpid, leave, write, read, close, pipe = os.getpid, os._exit, os.write, os.read, os.close, os.pipe
make_open, listdir = open, os.listdir
clock, poller, dumps, loads = time.monotonic, select.poll, json.dumps, json.loads
timer, frames = signal.setitimer, re.compile(rb'File "([^"\n]+)"')
page, module_type, waiting = resource.getpagesize(), type(os), select.POLLIN
KILL, NOHANG, REAL = signal.SIGKILL, os.WNOHANG, signal.ITIMER_REAL
MOST_FILES, LONGEST, CHUNK = 100, 2000, 65536

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
except OSError:
    pass

def tell(**facts):
    write(answer, (dumps(facts) + "\n").encode())

def words(error):
    try:
        said = " ".join(str(error).split())
    except BaseException:
        said = ""
    name = type(error).__name__
    return ("%s: %s" % (name, said) if said else name)[:LONGEST]

def named_by(error):
    # The file that the message is about: the traceback ends at whoever asked for it.
    found = [getattr(error, "filename", None)] if isinstance(error, SyntaxError) else []
    found += [getattr(error, "path", None)] if isinstance(error, ImportError) else []
    owner = getattr(error, "obj", None) if isinstance(error, AttributeError) else None
    found += [getattr(owner, "__file__", None)] if isinstance(owner, module_type) else []
    return found

def files_of(error):
    # The innermost first; then those of the errors that led to it.
    found, seen = [], []
    while error is not None and len(seen) < 5 and not any(error is one for one in seen):
        seen.append(error)
        passed, trace = [], error.__traceback__
        while trace is not None:
            passed.append(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        found += named_by(error) + passed[::-1]
        error = error.__cause__ or error.__context__
    kept = [path for path in found if isinstance(path, str) and path.startswith("/")]
    return list(dict.fromkeys(kept))[:MOST_FILES]

def attempt(name):
    began = clock()
    found = {"error": None, "files": [], "missing": None}
    try:
        __import__(name)
    except BaseException as error:
        found["error"] = words(error)
        try:
            found["files"] = files_of(error)
            missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
            found["missing"] = missing if isinstance(missing, str) else None
        except BaseException:
            pass
    found["seconds"] = round(clock() - began, 4)
    return found

def in_child(name, channel):
    own = getpid()
    try:
        setsid()
        close(answer)
        faulthandler.enable(file=channel, all_threads=False)
        found = attempt(name)
        if getpid() == own:  # not in what the module has forked
            write(channel, dumps(found).encode())
    finally:
        leave(0)

def begin(number, name):
    reading, writing = pipe()
    tell(began=number)
    child = fork()
    if child == 0:
        in_child(name, writing)
    close(writing)
    os.set_blocking(reading, False)
    return child, {"number": number, "reading": reading, "began": clock(), "said": b"", "why": None}

def take(one):
    while one["reading"] >= 0:
        try:
            chunk = read(one["reading"], CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            close(one["reading"])
            one["reading"] = -1
        one["said"] = (one["said"] + chunk)[:4 * CHUNK]

def too_much(child, one):
    if clock() - one["began"] > given["seconds"]:
        return "it does not end within %g s" % given["seconds"]
    try:
        with make_open("/proc/%d/statm" % child) as statm:
            resident = int(statm.read().split()[1]) * page
    except (OSError, IndexError, ValueError):
        return None
    if resident > given["bytes"]:
        return "it uses more than %d MiB of memory" % (given["bytes"] >> 20)
    return None

def end(child):
    for how in (killpg, kill):
        try:
            how(child, KILL)
        except OSError:
            pass

def outcome(one, status):
    take(one)
    if one["reading"] >= 0:
        close(one["reading"])
    try:
        found = loads(one["said"].decode())
        assert set(found) == {"error", "files", "missing", "seconds"}
    except (ValueError, AssertionError, TypeError):
        files = [path.decode("utf-8", "replace") for path in frames.findall(one["said"])]
        found = {"error": one["why"] or how_it_ended(status), "missing": None,
                 "files": [path for path in files if path.startswith("/")][:MOST_FILES],
                 "seconds": round(clock() - one["began"], 4)}
    tell(ended=one["number"], timed_out=one["why"] is not None, **found)

def how_it_ended(status):
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "it ends its process by signal %d (%s)" % (number, signal.Signals(number).name)
    return "it ends its process, with status %d" % os.WEXITSTATUS(status)

def follow(queue):
    running, checked = {}, clock()
    while queue or running:
        while queue and len(running) < given["workers"]:
            number, name = queue.pop(0)
            child, one = begin(number, name)
            running[child] = one
        poll = poller()
        for one in running.values():
            if one["reading"] >= 0:
                poll.register(one["reading"], waiting)
        closed = any(one["reading"] < 0 for one in running.values())
        poll.poll(2 if closed else 50)
        for child in list(running):
            take(running[child])
            ended, status = waitpid(child, NOHANG)
            if ended:
                outcome(running.pop(child), status)
        if clock() - checked > 0.05:
            checked = clock()
            for child, one in running.items():
                one["why"] = one["why"] or too_much(child, one)
                if one["why"]:
                    end(child)

own = getpid()
for number, name in given["first"]:
    tell(began=number)
    timer(REAL, given["seconds"])  # its default action ends this process
    found = attempt(name)
    if getpid() != own:
        leave(0)
    timer(REAL, 0)
    tell(ended=number, timed_out=False, **found)
    if found["error"] or len(listdir("/proc/self/task")) > 1:
        leave(0)  # to fork from here might fail for that reason alone
follow(given["then"])
leave(0)
"""
