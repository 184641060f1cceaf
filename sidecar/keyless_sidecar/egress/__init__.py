"""The egress proxy: the only way out of a tool's sandbox, where real credentials are put in.

``messages`` is what handlers and engine say to each other; ``server`` is the engine.
"""
