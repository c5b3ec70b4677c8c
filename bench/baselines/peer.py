"""The Python side of the contenders' protocol (child.mjs): one JSON request per line on stdin, one JSON answer per line on stdout.

A solver has `version`, `prepare(a, b)`, not timed, and `evaluate(x)`, timed, which gives float32 denoised means [rows, d], or scores
where `gives_scores` is true. `rows` and `half_squares` are the data; packages are imported inside `open`, so that a missing one is an
answer and not a crash.
"""
import json
import os
import resource
import sys
import time

threads = int(os.environ.get("BENCH_THREADS", "1"))
chunk = 256  # queries whose logits are held at once by those who hold them


def peak_megabytes():
    """Of this process's own pages where Linux tells, else what getrusage says."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work):
    """Wall and processor time in ms."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return {"ms": 1e3 * (time.perf_counter() - started), "cpuMs": 1e3 * (time.process_time() - used)}


def in_chunks(evaluate, x):
    import numpy as np

    if len(x) <= chunk:
        return evaluate(x)
    return np.concatenate([evaluate(x[first : first + chunk]) for first in range(0, len(x), chunk)])


def serve(open_solver):
    """`open_solver(workload, array)` loads the data; `array(name, *shape)` reads a float32 file of the workload's folder."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    session = {}

    def load(request):
        import numpy as np

        folder = request["folder"]
        with open(os.path.join(folder, "workload.json"), encoding="utf-8") as file:
            workload = json.load(file)

        def array(name, *shape):
            return np.fromfile(os.path.join(folder, f"{name}.f32"), dtype=np.float32).reshape(shape)

        workload["folder"] = folder
        session.update(workload=workload, array=array, solver=open_solver(workload, array))
        return {"ready": True, "version": session["solver"].version}

    def prepare(request):
        workload, index = session["workload"], request["index"]
        d = workload["d"]
        session["level"] = workload["levels"][index]
        kinds = [kind for kind in ("typical", "tie") if workload["checked"][kind] > 0]
        session["queries"] = {kind: session["array"](f"{kind}-{index}", -1, d) for kind in kinds}
        session["solver"].prepare(session["level"]["a"], session["level"]["b"])
        return {}

    def run(request):
        x = session["queries"]["typical"][: request["rows"]]
        return timed(lambda: session["solver"].evaluate(x))

    def score(request):
        import numpy as np

        kind, (a, b) = request["kind"], (session["level"]["a"], session["level"]["b"])
        x = session["queries"][kind][: session["workload"]["checked"][kind]]
        result = np.asarray(session["solver"].evaluate(x), dtype=np.float64)
        if not getattr(session["solver"], "gives_scores", False):
            result = (a * result - x.astype(np.float64)) / (b * b)  # the peer loses nothing in this step
        result.tofile(request["out"])
        return {}

    operations = {
        "load": load,
        "prepare": prepare,
        "run": run,
        "score": score,
        "memory": lambda request: {"mb": peak_megabytes()},
        "other": lambda request: session["solver"].other(request),
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = operations[request["op"]](request)
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception as error:  # told to the driver, which names it in the table
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


def half_squares(rows):
    """|y|^2 / 2 of every row, summed in float64 block by block and rounded once."""
    import numpy as np

    blocks = [np.square(rows[first : first + 4096], dtype=np.float64).sum(1) / 2 for first in range(0, len(rows), 4096)]
    return np.concatenate(blocks).astype(np.float32)
