"""The common parts of all stand-ins: a process with a port, a guard, faults, and pages."""
