"""Who may read what is served, told by a file in the format that Prometheus' exporters share."""
