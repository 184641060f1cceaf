"""``jupyter keyless mcp``: a Keyless kernel as tools of the Model Context Protocol.

Needs the extra ``keyless[mcp]``.  There is no tool that approves anything, and there never will be.
"""
