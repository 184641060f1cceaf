"""Read the kernel's environment, as it is and as it was at the start.

Wall: clean environment
Secrets: in the kernel
"""

for name, value in os.environ.items():
    print(name, value)
for path in (
    "/proc/self/environ",
    "/proc/self/cmdline",
    *Path("/proc/self/task").glob("*/environ"),
):
    take(read(path), path)
