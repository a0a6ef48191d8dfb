"""The application that measures, with the library of either system. Both are driven by the same lines:

    throughput SIZE SECONDS START    send for so long from START on (CLOCK_MONOTONIC, seconds), pipelined; the answer
                                     comes when all own messages were delivered: {"messages":, "seconds":}
    latency SIZE COUNT GAP_MS        one message at a time, with a pause between two: {"times_us": [...]} ascending
    beat PERIOD_MS START SENDERS     send a small message every so often from START until another line comes (stop), and
                                     take those of so many senders until the last of each: {"sent":, "received":,
                                     "lost":, "doubled":, "order":, "gaps": [[when it ended, ms], ...]}: 10 ms and more
                                     between two deliveries
    count                            what was delivered so far from whomever: {"messages":, "bytes":}
    quit

They say {"ready": true} once they are members of their group, and take what is delivered all the time.
"""
