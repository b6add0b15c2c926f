"""The records that every client writes and every client must read back: one a line, fields apart by a tab.

    partition  offset  timestamp  key  value  headers

Bytes are `=` and lower-case hex, null is `-`; headers are `key=value` with the key in hex too, apart by commas. Null and
empty keys and values, bytes that are no text, header keys that repeat, header values that are empty or null, two
records of 900 KB that no codec makes smaller. Times rise by 10 ms a record, so that they can be looked up.
"""

import random
import sys

PARTITIONS = 3
RECORDS = 150
FIRST_TIME = 1_700_000_000_000
STEP_MS = 10
BIG = 900_000


def field(data):
    return "-" if data is None else "=" + data.hex()


def headers_of(n, tame):
    if n % 5 == 0:
        headers = [("trace", b"abc"), ("trace", b"\x00\xff"), ("empty", b""), ("name-\u00e4", b"%d" % n)]
        return headers if tame else [*headers, ("none", None)]
    return []


def records(tame):
    """All of them; if tame, without what kafkajs or kafka-python refuse to send: header values and whole records that
    are null."""
    bits = random.Random(4)
    for partition in range(PARTITIONS):
        for n in range(RECORDS):
            key = [None, b"", b"key-%d" % n, bits.randbytes(20)][n % 4]
            value = [b"value %d " % n * (1 + n % 7), None, b"", bits.randbytes(n), b"x" * 1000][n % 5]
            if n in (40, 41) and partition == 0:
                value = bits.randbytes(BIG)
            if tame and key is None and value is None:
                key = b"tame"
            yield partition, n, FIRST_TIME + STEP_MS * n, key, value, headers_of(n, tame)


if __name__ == "__main__":
    for partition, offset, at, key, value, headers in records(tame="--tame" in sys.argv):
        pairs = ",".join(k.encode().hex() + field(v) for k, v in headers)
        print(partition, offset, at, field(key), field(value), pairs, sep="\t")
