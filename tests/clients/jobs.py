"""What the Python clients share: the jobs read from standard input, and a record as a line of text."""

import sys


# Between the records 74 and 75 of every partition (records.py).
MIDDLE_TIME = 1_700_000_000_745


def field(data):
    return "-" if data is None else "=" + data.hex()


def parse(field):
    return None if field == "-" else bytes.fromhex(field[1:])


def records(file):
    """Partition, offset, timestamp, key, value and headers of each line."""
    with open(file) as lines:
        for line in lines:
            partition, offset, at, key, value, pairs = line.rstrip("\n").split("\t")
            yield int(partition), int(offset), int(at), parse(key), parse(value), list(headers(pairs))


def headers(pairs):
    for pair in filter(None, pairs.split(",")):
        end = pair.index("=") if "=" in pair else len(pair) - 1
        yield bytes.fromhex(pair[:end]).decode(), parse(pair[end:])


def line(partition, offset, at, key, value, headers):
    pairs = ",".join(name.encode().hex() + field(data) for name, data in headers or [])
    return "\t".join([str(partition), str(offset), str(at), field(key), field(value), pairs]) + "\n"


def check(what, found, wanted):
    if found != wanted:
        raise SystemExit(f"{what}: found {found!r:.200}, expected {wanted!r:.200}")


def run(client):
    """Calls the client's method of each job's name."""
    for job in sys.stdin:
        name, *rest = job.split()
        try:
            getattr(client, name)(*rest)
        except BaseException:
            print(f"at: {job}", file=sys.stderr)
            raise
