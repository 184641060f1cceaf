"""Warm tools: a process that has imported a tool already is forked for each command.

A *zygote* (:mod:`keyless_sidecar.warm.zygote`, the program) lives in a sandbox of its own, in which
there is no secret, no workspace and no network.  :mod:`keyless_sidecar.warm.zygotes` starts one for
each tool at its first use.  For a command :mod:`keyless_sidecar.warm.joining` lets bubblewrap make
the same sandbox as for any other command; a fork of the zygote enters it, gives up all rights, and
is looked at from outside before it is told anything.
"""

from keyless_sidecar.warm.joining import join
from keyless_sidecar.warm.plan import WarmPlan, warm_plan
from keyless_sidecar.warm.process import Zygote
from keyless_sidecar.warm.zygotes import Cold, Zygotes

__all__ = ["Cold", "WarmPlan", "Zygote", "Zygotes", "join", "warm_plan"]
