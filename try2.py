import os, sys, statistics
from bench.replicated import Replica
from rondo.testing import rondo_cluster
variants = [dict(x.split("=") for x in v.split("+") if x) for v in sys.argv[1].split(",")]
callers = sys.argv[3]
def cpu(pid):
    f=open(f"/proc/{pid}/stat").read().rpartition(")")[2].split(); return (int(f[11])+int(f[12]))/100
seen = [[] for v in variants]; med = [[] for v in variants]; use=[[] for v in variants]
with rondo_cluster(nodes=3, network=False) as nodes:
    for r in range(int(sys.argv[2])):
        for i, v in enumerate(variants):
            for k in ("MM","DRAIN"): os.environ.pop(k, None)
            os.environ.update(v)
            reps = [Replica("rondo", n.endpoint) for n in nodes]
            for x in reps: x.line()
            reps[0].ask(f"count {callers} 1")
            n0=sum(cpu(p) for n in nodes for p in n.pids)
            c0=[cpu(x.process.pid) for x in reps]
            t = reps[0].ask(f"count {callers} 3")
            use[i].append([round((cpu(x.process.pid)-c)/3,2) for x,c in zip(reps,c0)])
            d=sum(cpu(p) for n in nodes for p in n.pids)-n0; use[i][-1]=[round(1e6*(sum(cpu(x.process.pid)-c for x,c in zip(reps,c0)))/len(t),1), round(1e6*d/len(t),1)]
            seen[i].append(len(t)/3); med[i].append(1000*statistics.median(t))
            for x in reps: x.end()
for i, v in enumerate(variants): print(v, "rate", round(statistics.median(seen[i])), [round(x) for x in seen[i]], "median ms", round(statistics.median(med[i]),1), use[i])
