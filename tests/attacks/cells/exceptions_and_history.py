"""Look for raw output in exceptions, their frames, and IPython's history.

Wall: sanitized before it reaches the kernel
"""

from keyless import secure_exec

for argv in (["trace"], ["plain", "no-such-argument"], ["cat", "/nonexistent"]):
    error = None
    try:
        print(secure_exec("leaky", argv))
    except Exception as caught:
        error = caught
    seen = 0
    while error is not None and seen < 10:
        print(repr(error), error, getattr(error, "__dict__", ""), getattr(error, "result", None))
        print(getattr(getattr(error, "result", None), "stderr", ""))
        trace = error.__traceback__
        while trace:
            print(trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals.keys())
            trace = trace.tb_next
        error, seen = error.__cause__ or error.__context__, seen + 1
shell = get_ipython()
result = shell.run_cell("%secure_exec leaky plain")
for name in ("Out", "In", "_", "__", "_i"):
    print(name, repr(shell.user_ns.get(name))[:200_000])
print(repr(result)[:10_000])
