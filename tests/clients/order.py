"""`produce`: records that can be found again in a trace of system calls. `check`: that for each of them

    write of its batch returned < sync began < sync returned < answer began to be written

The threads' driver syncs by `fdatasync`, seen with its file. In the ring a sync is no system call: there it is a
submission (`io_uring_enter` after the write), and that the kernel signalled a completion (a read of the ring's eventfd
that found it signalled) after that. Nothing else of a node that only takes in cached appends goes through its ring.
"""

import ast
import re
import struct
import sys

from wire import Connection

TOPICS = ["order-a", "order-b"]
ONE_BY_ONE = 150
ROUNDS, PIPELINED = 15, 12
# Correlation ids say which record they belong to.
BASE = 0x4B5F0000


def marker(n):
    return b"<<record %06d>>" % n


def produce(address):
    """One by one on one topic, then many ahead of their answers on two: group commit."""
    connection = Connection(address)
    for topic in TOPICS:
        connection.create(topic)
    next_offset = dict.fromkeys(TOPICS, 0)

    def expect(topic, n):
        found = connection.produced(topic)
        if found != (BASE + n, next_offset[topic]):
            raise SystemExit(f"record {n}: expected offset {next_offset[topic]}, found {found}")
        next_offset[topic] += 1

    n = 0
    for _ in range(ONE_BY_ONE):
        connection.produce(TOPICS[0], BASE + n, marker(n))
        expect(TOPICS[0], n)
        n += 1
    for _ in range(ROUNDS):
        ahead = [(TOPICS[at % 2], n + at) for at in range(PIPELINED)]
        for topic, number in ahead:
            connection.produce(topic, BASE + number, marker(number))
        for topic, number in ahead:
            expect(topic, number)
        n += PIPELINED


class Call:
    """A system call: where in the trace it began and returned (None: it did not)."""

    def __init__(self, name, text, begin):
        self.name, self.text, self.begin, self.end, self.result = name, text, begin, None, None

    def returned(self, text, at):
        self.text += text
        found = re.search(r"\)\s+= (-?\d+)", text)
        self.end, self.result = at, int(found[1]) if found else None

    @property
    def file(self):
        found = re.match(r"\w+\(\d+<([^>]*)>", self.text)
        return found[1] if found else ""

    def data(self):
        """The bytes that it was given, slices joined."""
        strings = re.findall(r'"(?:[^"\\]|\\.)*"', self.text)
        return b"".join(ast.literal_eval("b" + s) for s in strings)


def calls_of(path):
    calls, open_calls = [], {}
    with open(path, encoding="latin-1") as trace:
        for at, line in enumerate(trace):
            pid, _, text = line.strip().partition(" ")
            text = text.strip()
            resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)", text)
            begun = re.match(r"(\w+)\(", text)
            if resumed and (call := open_calls.pop((pid, resumed[1]), None)):
                call.returned(resumed[2], at)
            elif begun:
                call = Call(begun[1], text.replace("<unfinished ...>", ""), at)
                calls.append(call)
                if "<unfinished ...>" in text:
                    open_calls[pid, begun[1]] = call
                else:
                    call.returned(text[text.rfind(")") :], at)
    return calls


WRITES = {"pwrite64", "pwritev", "pwritev2"}
ANSWERS = {"write", "writev", "sendto", "sendmsg"}


def synced_by(driver, calls, write):
    """The place in the trace from which on a write is known to be on the device."""
    if driver == "blocking":
        syncs = (c for c in calls if c.name in {"fdatasync", "fsync"} and c.file == write.file)
        ends = [c.end for c in syncs if c.begin > write.end and c.result == 0]
        return min(ends, default=None)
    enters = [c for c in calls if c.name == "io_uring_enter" and c.begin > write.end and (c.result or 0) > 0]
    if not enters:
        return None
    submitted = min(c.begin for c in enters)
    signals = (c for c in calls if c.name == "read" and "eventfd" in c.file)
    ends = [c.end for c in signals if c.begin > submitted and c.result == 8]
    return min(ends, default=None)


def check(driver, path, spoiled):
    calls = calls_of(path)
    records = ONE_BY_ONE + ROUNDS * PIPELINED
    writes = [(c, c.data()) for c in calls if c.name in WRITES and c.file.endswith(".log")]
    answers = [(c, c.data()) for c in calls if c.name in ANSWERS and c.file.startswith("socket:")]
    early, groups = 0, set()
    for n in range(records):
        write = next((c for c, data in writes if marker(n) in data and c.end is not None), None)
        if write is None:
            raise SystemExit(f"record {n}: no write in the trace")
        groups.add(write.begin)
        later = [c for c in calls if c.begin > write.begin]
        synced = synced_by(driver, later, write)
        answer = [c for c, data in answers if struct.pack(">i", BASE + n) in data]
        if len(answer) != 1:
            raise SystemExit(f"record {n}: {len(answer)} answers in the trace")
        began = write.end + 1 if spoiled else answer[0].begin
        if synced is None or began < synced:
            early += 1
            print(f"record {n}: written at line {write.begin + 1}, synced at {synced}, answered at {began + 1}")
    if early:
        raise SystemExit(f"{early} of {records} answers were written before their syncs had returned")
    print(f"{driver}: {records} answers, each after its sync; {len(groups)} groups")


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "produce":
        produce(*rest)
    else:
        check(rest[0], rest[-1], "--spoiled" in rest)
