"""What all stand-ins share: a process with a port, what it refuses, faults to rehearse, and pages."""
