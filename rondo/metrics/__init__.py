"""The metrics of a node, in the format of Prometheus: `rondo metrics`, and /metrics of `rondo web`.

Every metric is declared once, with its help line, its labels and how many series it may have; docs/METRICS.md is made
of the declarations. A scrape asks each service for its status over its control socket. The service answers in its next
turn of the loop. So a scrape does not hold up the token, and metrics cost nothing without a scrape.

    metric.py      the declaration of a metric, and the values of a scrape
    seen.py        all that is known about a node at one moment
    looker.py      the same again and again, with applications and events: for the page and `rondo top`
    processes.py   processes and this node       ring.py     totem, links
    quorum.py      votes, and the names of ha_cluster_exporter
    groups.py      groups and clients            events.py   counters that have no metric of their own
    collect.py     all of them
    render.py      the text (needs the package prometheus_client: rondo[web])
    reference.py   docs/METRICS.md
"""
