"""Say hello to a group, and print what everybody in it says and who comes and goes. Start it on several nodes.

python examples/hello_group.py
"""

import rondo

with rondo.connect() as cluster:
    group = cluster.cpg.join("hello")
    group.mcast(f"hello from node {cluster.node_id}".encode())
    try:
        for event in group:
            match event:
                case rondo.Message(sender=who, data=data):
                    print(f"node {who.node}, process {who.pid}: {data.decode()}", flush=True)
                case rondo.Membership(members=members):
                    print(f"there are {len(members)} of us now", flush=True)
    except KeyboardInterrupt:
        group.leave()
