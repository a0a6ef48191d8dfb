"""The keeper: the parent of all managed applications. It starts them, reaps them, and remembers how they ended.

SAM may be killed at any time. Its own children would then lose their parent, and their exit status would be lost. So
the parent is a separate process, which decides nothing, has no timer while nothing ends, and is never restarted. It
executes SAM's orders and reports what happened. It repeats a report until SAM says that it has recorded it.

__main__    command line, and the loop
children    fork, exec, reap; the end of a process group
privileges  what an application must not inherit from the node
budget      the disk space for output
output      what applications write, into files of bounded size
wire        the protocol between SAM and the keeper
"""
