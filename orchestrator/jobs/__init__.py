"""Studies as jobs on a Ray cluster, from another machine: `offmodel submit`, `status`, `logs` and `stop`."""
