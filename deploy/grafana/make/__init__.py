"""The dashboards as code: what each panel asks is written in PromQL, and all else comes from the catalog of metrics."""
