"""The keeper: the parent of all managed applications. It starts them, reaps them, and remembers how they ended.

SAM may be killed at any time; a child of SAM would then be nobody's child, and how it ends would be lost. So the parent
is a process of its own that decides nothing, has no timer of its own while nothing ends, and is never restarted: it
executes what SAM says, and tells what happened, again if it must, until SAM says that it has written it down.

__main__    command line, and the loop
children    fork, exec, reap; a process group is gone before its end is told
privileges  what an application must not have of the node
budget      how much of the disk these take
output      what applications write, into files of bounded size
wire        what SAM and the keeper say to each other
"""
