"""Temporary credentials (pattern 2): keys of a role's session, for a cell or for one command.

Off for every entry that ``c.Vault.sessions`` doesn't name.  :class:`Sessions` is what the channel,
the runner and the server use.
"""
