"""What Rondo is measured by, beside C Corosync on the same machine in the same run. See README.md.

statistics.py   series of samples, medians, ratios of pairs
lab/            clusters in network namespaces: Rondo's and C Corosync's nodes, and their clients
clients/        the measuring application, once with Rondo's library and once with libcpg
parts/          what is measured: throughput, latency, loss, growth, idle, forming
report.py       tables; plot.py the pictures; results.py the files
compare.py      two versions of Rondo beside each other: `make bench-compare`
core.py         `make bench-core`: the parts by themselves, without root, network or C
security.py     the cost of packet security by itself
"""
