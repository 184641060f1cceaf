"""The privileged process: vault, rules, execution, sanitizer, audit.  Nothing of ours imports it."""
