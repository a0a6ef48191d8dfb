"""The options of logging{}, system{}, uidgid{}, cpg{}, sam{} and remote{}, and the whole file: how one node runs."""

from typing import Literal

from rondo.config.node import SUBSYSTEMS, Debug, Facility, LogFormat, Priority, Timestamp
from rondo.config.option import Address, Cpus, MaybeNumber, MaybeYesNo, Number, Section, Word, YesNo, option
from rondo.config.schema_quorum import Quorum
from rondo.config.schema_shown import Notify, Web
from rondo.config.schema_totem import Nodelist, Totem

SUBSYSTEMS_OF_COROSYNC = ("MAIN", "SERV", "CFG", "CMAP", "QUORUM", "VOTEQ", "QB", "YKD", "MON", "WD", "QNETD", "KNET")
"""Subsystems of Corosync that a file may name and that Rondo lacks."""
SUBSYSTEMS_OF_OLD = (
    "AMF", "CKPT", "CLM", "CONFDB", "EVS", "EVT", "IPC", "LCK", "MSG", "OBJDB", "PCMK", "PLOAD", "SYNC", "SYNCV2",
    "TMR",
)  # fmt: skip
"""Subsystems of openais and of Corosync 1 and 2, which old files still name."""

MIB = 1024 * 1024
NO_HANDLE = "Rondo's knet needs no privileges"


class LoggerSubsys(Section):
    """The log settings of one service. An option that is absent here is as in logging{}."""

    subsys: Word = option(..., "The service's name in capitals: " + ", ".join(SUBSYSTEMS) + ".")
    debug: Debug | None = option(None, "As in logging{}.", derived="as in logging{}")
    to_stderr: MaybeYesNo = option(None, "As in logging{}.", derived="as in logging{}")
    to_logfile: MaybeYesNo = option(None, "As in logging{}.", derived="as in logging{}")
    logfile: Word = option("", "As in logging{}.", derived="as in logging{}")
    logfile_priority: Priority | None = option(None, "As in logging{}.", derived="as in logging{}")
    to_syslog: MaybeYesNo = option(None, "As in logging{}.", derived="as in logging{}")
    syslog_facility: Facility | None = option(None, "As in logging{}.", derived="as in logging{}")
    syslog_priority: Priority | None = option(None, "As in logging{}.", derived="as in logging{}")


class Logging(Section):
    """What is logged, and where to. The services' standard error goes to log/SERVICE.log in the run directory."""

    debug: Debug = option("off", "Log more; trace is more still.")
    to_stderr: YesNo = option(True, "Log to standard error, which is kept in log/SERVICE.log.")
    to_logfile: YesNo = option(False, "Log to logfile.")
    logfile: Word = option("", "The file for to_logfile; a relative path lies beside this configuration.")
    logfile_priority: Priority = option("info", "The least important message that goes to logfile or standard error.")
    to_syslog: YesNo = option(
        False,
        "Log to syslog, or to the journal of systemd with fields, where that runs. (Corosync's default is yes.) If "
        "nothing listens there and no other output is configured, the lines go to standard error.",
    )
    syslog_facility: Facility = option("daemon", "Facility of the messages in syslog.")
    syslog_priority: Priority = option("info", "The least important message that goes to syslog.")
    timestamp: Timestamp = option("hires", "Begin a line with the time: on in seconds, hires in milliseconds.")
    format: LogFormat = option(
        "text",
        "Rondo's own: json writes each line to standard error, logfile and syslog as an object. It always has the "
        "time, and for an event of docs/EVENTS.md its name and details.",
    )
    fileline: YesNo = option(False, "Log the place in the source.")
    function_name: YesNo = option(False, "Log the function's name.")
    blackbox: YesNo = option(
        True, "Flight recorder.", ignored="Rondo has no blackbox; `rondo debug` shows a process's state"
    )
    logger_subsys: tuple[LoggerSubsys, ...] = option((), "Other log settings for single services.")


class System(Section):
    """The processes of the node."""

    state_dir: Word = option(
        "",
        "Where the ring's sequence number and SAM's table are kept.",
        derived="$RONDO_STATE_DIR, else /var/lib/rondo as root and ~/.local/state/rondo otherwise",
    )
    sched_rr: YesNo = option(
        False,
        "Run the totem process under the real-time scheduler, if the system allows it. (Corosync's default is yes.)",
    )
    cpu_affinity: Cpus = option((), "Rondo's own: CPUs that the totem process is pinned to.")
    low_latency: YesNo = option(
        False,
        "Rondo's own: shortest latency, at the cost of power. The totem process has a CPU of its own (cpu_affinity, "
        "or the last one); cpg and the gateway have the others. From the first message to two seconds after the last, "
        "processors do not sleep (/dev/cpu_dma_latency, needs root). Warm-up messages of the gateway keep code and "
        "data in the caches.",
    )
    service_timeout: Number = option(
        5000,
        "Rondo's own: a service that hangs for this time (stopped by a signal, spinning, or blocked) is killed and "
        "restarted, at most a second later. Time in which the whole node or machine is suspended does not count.",
        unit="ms",
        ge=100,
        le=3_600_000,
        node="service_timeout_ms",
    )
    log_bytes_max: Number = option(
        64 * MIB,
        "Rondo's own: ordered messages that totem keeps until they are acknowledged. Above a fifth of it the node "
        "slows the ring down; above half of it nothing more is accepted from its clients. If it is full and cpg "
        "accepts nothing for a second, the node leaves the ring, and comes back when cpg works again.",
        unit="bytes",
        ge=4 * MIB,
        le=16384 * MIB,
    )
    qb_ipc: Literal["auto", "yes", "no"] = option(
        "auto",
        "Rondo's own: serve C programs that use Corosync's libraries. auto: if libqb is installed and no Corosync has "
        "the names of the sockets.",
    )
    qb_ipc_type: Literal["native", "shm", "socket"] = option(
        "native",
        "Kind of Corosync's IPC.",
        ignored="C programs are served over shared memory, which all of them support",
    )
    priority: Word = option("", "Nice value of Corosync.", ignored="start Rondo under nice(1) instead")
    move_to_root_cgroup: Literal["yes", "no", "auto"] = option(
        "auto", "Whether Corosync leaves its control group.", ignored="Rondo stays in its control group"
    )
    allow_knet_handle_fallback: YesNo = option(False, "Unprivileged knet.", ignored=NO_HANDLE)


class UidGid(Section):
    """Users and groups that may connect, besides root and the executive's own user. May be given several times."""

    uid: Word = option("", "A user, by name or number.")
    gid: Word = option("", "A group, by name or number.")


class Cpg(Section):
    """Rondo's own section: limits of process groups."""

    message_size_max: Number = option(
        64 * MIB, "Largest message; larger ones are refused as too big.", unit="bytes", ge=MIB, le=128 * MIB
    )
    client_bytes_max: MaybeNumber = option(
        None,
        "Bytes that may wait for one client that does not acknowledge; a single message of any size may wait in any "
        "case. A client that exceeds this is cut off, with the reason.",
        unit="bytes",
        ge=MIB,
        le=16384 * MIB,
        derived="half of system.log_bytes_max",
    )


class Sam(Section):
    """Rondo's own section: what users may take of SAM. The limits per user do not apply to root and the executive's own
    user; a quarter of each common limit is reserved for these two."""

    applications_per_user_max: Number = option(256, "Applications of one user that run or wait.", ge=1, le=768)
    table_bytes_per_user_max: Number = option(
        32 * MIB,
        "Memory and state directory: command lines, environments and stored data of one user's applications. Finished "
        "applications are forgotten first.",
        unit="bytes",
        ge=4 * MIB,
        le=4096 * MIB,
    )
    table_bytes_max: Number = option(
        128 * MIB, "The same of all applications together.", unit="bytes", ge=16 * MIB, le=16384 * MIB
    )
    output_bytes_per_user_max: Number = option(
        64 * MIB,
        "Run directory: output of one user's applications, for `rondo sam logs`. Beyond this the oldest part of the "
        "largest output is dropped, and the log says so.",
        unit="bytes",
        ge=MIB,
        le=16384 * MIB,
    )
    output_bytes_max: Number = option(
        256 * MIB, "The same of all applications together.", unit="bytes", ge=4 * MIB, le=65536 * MIB
    )


class Remote(Section):
    """Rondo's own section: clients on other hosts, over TCP with CURVE. Without `address` there are none."""

    address: Address = option("", "The address of this machine at which clients on other hosts connect.")
    port: Number = option(5410, "The TCP port.", ge=1, le=65535)
    keyfile: Word = option(
        "/etc/corosync/gateway.key", "File with the key pair by which clients know this node (rondo keygen --curve)."
    )
    clients: Word = option(
        "/etc/corosync/clients",
        "File with the public keys of the clients that may connect, one line each: the key, and a name. It is read "
        "again after a change.",
    )


class Config(Section):
    """A corosync.conf."""

    totem: Totem = option(Totem(), "The ring.")
    nodelist: Nodelist = option(Nodelist(), "The nodes.")
    quorum: Quorum = option(Quorum(), "Quorum.")
    logging: Logging = option(Logging(), "Logging.")
    system: System = option(System(), "The processes.")
    uidgid: tuple[UidGid, ...] = option((), "Who may connect.")
    cpg: Cpg = option(Cpg(), "Process groups.")
    sam: Sam = option(Sam(), "Limits on what users may take of SAM.")
    remote: Remote = option(Remote(), "Clients on other hosts.")
    web: Web = option(Web(), "The page.")
    notify: Notify = option(Notify(), "Notifications of events.")
