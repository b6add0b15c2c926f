"""What a trace of system calls cannot show: the result of a sync in an io_uring. The kernel's own trace can:

    write of the batch returned < FSYNC submitted < that FSYNC completed with 0 < answer began to be written

Takes the node's process id (one shard, over the ring) and its address. Needs root and tracefs; without, it says so and
ends with NOT_CHECKED.
"""

import os
import re
import subprocess
import sys

from wire import Connection, batch

TRACING = "/sys/kernel/tracing"
TOPIC = "ring"
VALUE = b"x" * 200
RECORDS = 300
NOT_CHECKED = 77
EVENTS = ["io_uring/io_uring_submit_req", "io_uring/io_uring_complete"]
CALLS = ["pwritev", "pwritev2", "pwrite64", "write", "writev", "sendto", "sendmsg"]


class Trace:
    """A trace buffer of our own, beside whatever else is traced."""

    def __init__(self, thread):
        self.path = f"{TRACING}/instances/klamm-{os.getpid()}"
        if not os.path.isdir(f"{TRACING}/events"):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=True, capture_output=True)
        os.mkdir(self.path)
        try:
            self._put("trace_clock", "mono")
            self._put("buffer_size_kb", "8192")
            for call in CALLS:
                for side in ["enter", "exit"]:
                    event = f"syscalls/sys_{side}_{call}"
                    if os.path.isdir(f"{self.path}/events/{event}"):
                        self._put(f"events/{event}/filter", f"common_pid == {thread}")
                        EVENTS.append(event)
            for event in EVENTS:
                self._put(f"events/{event}/enable", "1")
        except OSError:
            self.close()
            raise

    def _put(self, name, value):
        with open(f"{self.path}/{name}", "w") as file:
            file.write(value)

    def lines(self):
        self._put("tracing_on", "0")
        with open(f"{self.path}/trace") as file:
            text = file.read()
        kept, written = re.search(r"entries-in-buffer/entries-written: (\d+)/(\d+)", text).groups()
        if kept != written:
            raise SystemExit(f"the trace lost {int(written) - int(kept)} events")
        return [line for line in text.splitlines() if not line.startswith("#")]

    def close(self):
        os.rmdir(self.path)


def thread_of(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm") as file:
            if file.read().strip() == "shard-0":
                return int(thread)
    raise SystemExit("the node has no thread shard-0")


def descriptor(pid, fits):
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            if fits(os.readlink(f"/proc/{pid}/fd/{number}")):
                return int(number)
        except FileNotFoundError:
            pass
    raise SystemExit("a descriptor of the node is not there")


def socket_of(pid, connection):
    """The node's end of our connection."""
    ours, theirs = connection.socket.getsockname()[1], connection.socket.getpeername()[1]
    with open("/proc/net/tcp") as table:
        for row in list(table)[1:]:
            cells = row.split()
            if [int(cells[at].split(":")[1], 16) for at in (1, 2)] == [theirs, ours]:
                return descriptor(pid, lambda link: link == f"socket:[{cells[9]}]")
    raise SystemExit("our connection is not in the node's table")


def events(lines):
    """Event and arguments, in the kernel's order."""
    for line in lines:
        match = re.match(r"\s*.+?-\d+\s+\[\d+\] \S+\s+[\d.]+: (\w+)(.*)", line)
        if match:
            yield match[1], match[2]


def check(lines, log, socket, first):
    """Each record's write, sync and answer, one after the other: one record is in flight at a time."""
    size = len(batch(VALUE))
    steps, flight, done, pending = {"answered": 0}, None, None, None
    seen = list(events(lines))
    for name, rest in seen:
        if "->" in rest and name == pending:
            steps["written"] = True
            pending = None
        elif name == "sys_pwritev" and "vlen" in rest:
            fd = int(re.search(r"fd: (0x\w+)", rest)[1], 16)
            position = int(re.search(r"pos_l: (0x\w+)", rest)[1], 16)
            if fd == log and position == (first + steps["answered"]) * size:
                flight, done, pending = None, None, name
                steps["written"] = False
        elif name == "io_uring_submit_req" and steps.get("written") and flight is None and "FSYNC" in rest:
            flight = re.search(r"req (\w+), user_data (0x\w+)", rest).groups()
        elif name == "io_uring_complete" and flight and flight == re.search(r"req (\w+), user_data (0x\w+)", rest).groups():
            done = int(re.search(r"result (-?\d+)", rest)[1])
        elif re.match(r"sys_(write|writev|sendto|sendmsg)$", name) and re.search(rf"\bfd: 0x0*{socket:x}\b", rest):
            if done != 0:
                raise SystemExit(f"answer {steps['answered']} was written with its sync at: {flight}, result {done}")
            steps = {"answered": steps["answered"] + 1}
            flight = done = None
    if steps["answered"] != RECORDS:
        raise SystemExit(f"{steps['answered']} answers in the trace, {RECORDS} in the socket")
    print(f"uring, by the kernel's own trace: {RECORDS} answers, each after its sync completed with 0")


def main(pid, address):
    connection = Connection(address)
    connection.create(TOPIC)
    connection.produce(TOPIC, 1, VALUE)
    _, first = connection.produced(TOPIC)
    log = descriptor(pid, lambda link: f"/{TOPIC}-0/" in link and link.endswith(".log"))
    socket = socket_of(pid, connection)
    try:
        trace = Trace(thread_of(pid))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no tracefs here ({error})")
        sys.exit(NOT_CHECKED)
    try:
        for n in range(RECORDS):
            connection.produce(TOPIC, n, VALUE)
            connection.produced(TOPIC)
        lines = trace.lines()
    finally:
        trace.close()
    check(lines, log, socket, first + 1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
