"""The variables that several dashboards have: where the series were scraped, as the labels of the scrape say."""

from collections.abc import Sequence

from deploy.grafana.make.board import Variable

EXPORTERS = "model_sidecar_build_info"

SCRAPED: Sequence[Variable] = (
    Variable(label="job", metric=EXPORTERS),
    Variable(label="namespace", metric=EXPORTERS, maybe=True),
    Variable(label="pod", metric=EXPORTERS, maybe=True),
)
ONE_INSTANCE = Variable(label="instance", metric=EXPORTERS, every=False)
ONE_WITH_GPUS = Variable(label="instance", metric="gpu_up", every=False)
ONE_SERVICE = Variable(label="target", metric="model_state", every=False)
ITS_WATCHERS = Variable(label="instance", metric="model_state")
XIDS = (
    "1000 * gpu_xid_last_timestamp_seconds * on (job, instance, uuid) group_left (xid)"
    ' count_values by (job, instance, uuid) ("xid", gpu_xid_last)'
)
"""When the last Xid of each GPU came, in milliseconds, with its code as a label."""

GPUS = Variable(label="gpu", metric="gpu_up")
