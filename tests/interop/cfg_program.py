"""A C program's use of libcfg, by ctypes: says its own about shutdowns, or kills a node with a reason.

python cfg_program.py track yes|no      prints `ready`, then the flags of each request, and answers it
python cfg_program.py kill NODE REASON  prints the result
python cfg_program.py rings             prints the state of each link: its name and the text, between bars
"""

import ctypes
import select
import sys

CS_OK = 1
CS_DISPATCH_ALL = 2
SHUTDOWN_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_int)

libcfg = ctypes.CDLL("libcfg.so.7")
libcfg.corosync_cfg_kill_node.argtypes = [ctypes.c_uint64, ctypes.c_uint, ctypes.c_char_p]
libcfg.corosync_cfg_replyto_shutdown.argtypes = [ctypes.c_uint64, ctypes.c_int]
libcfg.corosync_cfg_trackstart.argtypes = [ctypes.c_uint64, ctypes.c_uint8]
libcfg.corosync_cfg_dispatch.argtypes = [ctypes.c_uint64, ctypes.c_int]
libcfg.corosync_cfg_fd_get.argtypes = [ctypes.c_uint64, ctypes.POINTER(ctypes.c_int)]


class Callbacks(ctypes.Structure):
    """corosync_cfg_callbacks_t."""

    _fields_ = (("shutdown", SHUTDOWN_CALLBACK),)


def print_rings(handle: ctypes.c_uint64) -> None:
    """The result of corosync_cfg_ring_status_get."""
    names, states = ctypes.POINTER(ctypes.c_char_p)(), ctypes.POINTER(ctypes.c_char_p)()
    count = ctypes.c_uint()
    result = libcfg.corosync_cfg_ring_status_get(handle, ctypes.byref(names), ctypes.byref(states), ctypes.byref(count))
    print(result, *(f"|{(names[i] or b'').decode()}|{(states[i] or b'').decode()}|" for i in range(count.value)))


def main() -> None:
    """Run the command that the arguments name."""
    handle = ctypes.c_uint64()
    answer = sys.argv[2:3] == ["yes"]

    def on_shutdown(of: int, flags: int) -> None:
        print("asked", flags, libcfg.corosync_cfg_replyto_shutdown(of, int(answer)), flush=True)

    callbacks = Callbacks(SHUTDOWN_CALLBACK(on_shutdown))
    assert libcfg.corosync_cfg_initialize(ctypes.byref(handle), ctypes.byref(callbacks)) == CS_OK
    if sys.argv[1] == "rings":
        print_rings(handle)
        return
    if sys.argv[1] == "kill":
        print(libcfg.corosync_cfg_kill_node(handle, int(sys.argv[2]), sys.argv[3].encode()))
        return
    assert libcfg.corosync_cfg_trackstart(handle, 0) == CS_OK
    descriptor = ctypes.c_int()
    assert libcfg.corosync_cfg_fd_get(handle, ctypes.byref(descriptor)) == CS_OK
    print("ready", flush=True)
    while True:
        select.select([descriptor.value], [], [])
        if libcfg.corosync_cfg_dispatch(handle, CS_DISPATCH_ALL) != CS_OK:
            return


if __name__ == "__main__":
    main()
