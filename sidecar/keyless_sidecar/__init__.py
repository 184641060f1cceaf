"""The privileged process: vault, rules, execution, sanitizer, audit.  Nobody imports it."""
