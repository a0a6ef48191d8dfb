"""Process groups: who is in, what each change was, who gets which message. All of it follows from totem's log.

core          the groups as a function of the log
groups        the table of groups
assembly      long messages, put together from their parts
machine       between totem's log and the sessions: hello, replay, submission, acknowledgement
checkpoints   from where, and with what, a restarted cpg goes on
clients       the sessions, and what the gateways say and are told of them
sessions      what is kept of one session; session_table: all of them
evaluate      one request: refused with a code, or what it becomes
numbering     whether a blob holds the requests that it announces
answers       replies that are due
quotas        how many groups a user may be in
accounts      what all sessions of a user hold, in bytes
gateways      the gateways, and what waits for them
wire          the messages of CPG between nodes
process       the loop
"""
