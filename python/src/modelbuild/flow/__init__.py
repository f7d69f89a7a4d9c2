"""What flows import: parameters, where steps run, data snapshots, tracking and publishing."""
