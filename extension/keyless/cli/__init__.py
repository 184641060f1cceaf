"""``jupyter keyless``: the command line, one file a subcommand; ``app.main`` is its entry."""
