"""Channel kinds. docs/architecture.md says how to add one."""
