"""The approval page: a small server on loopback where a person watches and answers.

A process of its own, started by ``jupyter keyless page`` and trusted like the person's terminal.
It passes on between one browser page and the control sockets of all running kernels; it decides
nothing and keeps nothing.  Whoever has its token answers for the person, so nothing that a
notebook draws or runs may get it: ``docs/decisions`` says why the page has an origin of its own.
"""
