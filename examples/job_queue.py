"""Jobs for any number of workers on any number of nodes; what a worker that dies was doing another one does.

    python examples/job_queue.py 10        # on each node: puts 10 jobs, and works until none are left

The jobs, who does which, and the sum of all results are the same on all nodes, and survive any of them.
"""

import sys

import rondo
from rondo.recipes import Counter, Queue


def main() -> int:
    """Put jobs, do jobs; returns the exit code."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    done = 0
    try:
        with rondo.connect() as cluster, Queue(cluster, "jobs") as queue, Counter(cluster, "sum") as total:
            for number in range(1, count + 1):
                queue.put(number)
            while (job := queue.get(blocking=False)) is not None:
                with job as number:  # goes back into the queue if this raises, or this process dies
                    total.add(number)
                done += 1
            print(f"{done} jobs done, {total.get()} in all")
    except rondo.NoQuorum:
        print("this side of the cluster may not act", file=sys.stderr)
        return 1
    except rondo.Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if status := main():
        sys.exit(status)
