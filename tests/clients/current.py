"""The newest librdkafka, driven from Python: `write` creates topics and produces, `read` expects exactly that back."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

TOPIC = "current"
PARTITIONS = 3
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# Of each codec in each partition.
RECORDS = 800
FIRST_TIME = 1_700_000_000_000


def expected(partition):
    """Key, value, headers and time of each record of a partition, in order."""
    for codec_at, codec in enumerate(CODECS):
        for n in range(RECORDS):
            key = b"%s-%d" % (codec.encode(), n)
            value = None if n % 100 == 99 else b"value %d of partition %d " % (n, partition) * (1 + n % 5)
            headers = [("codec", codec.encode()), ("none", None)] if n % 10 == 0 else None
            yield key, value, headers, FIRST_TIME + (codec_at * RECORDS + n) * 10


def check(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: expected {wanted!r}, found {found!r}")


def refusal(what, future, code):
    try:
        future.result(10)
    except KafkaException as refused:
        check(what, refused.args[0].code(), code)
        return
    sys.exit(f"{what}: it was not refused")


def create(admin):
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(10)
    again = admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
    refusal("created twice", again[TOPIC], KafkaError.TOPIC_ALREADY_EXISTS)
    bad = admin.create_topics([NewTopic("no/such/name", 1, 1)])
    refusal("a name that no topic may have", bad["no/such/name"], KafkaError.TOPIC_EXCEPTION)
    many = admin.create_topics([NewTopic("copies", 1, 3)])
    refusal("more replicas than brokers", many["copies"], KafkaError.INVALID_REPLICATION_FACTOR)
    partitions = admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
    check("partitions", sorted(partitions), list(range(PARTITIONS)))
    check("leaders", {p.leader for p in partitions.values()}, {1})


def write(config):
    create(AdminClient(config))
    sent = {partition: expected(partition) for partition in range(PARTITIONS)}
    acknowledged = {partition: [] for partition in range(PARTITIONS)}

    def delivered(error, message):
        if error:
            sys.exit(f"not delivered: {error}")
        acknowledged[message.partition()].append(message.offset())

    for codec in CODECS:
        producer = Producer(config | {"enable.idempotence": True, "compression.type": codec, "linger.ms": 5})
        for _ in range(RECORDS):
            for partition, records in sent.items():
                key, value, headers, at = next(records)
                producer.produce(
                    TOPIC, value, key, partition, on_delivery=delivered, timestamp=at, headers=headers or []
                )
            producer.poll(0)
        check(f"left after a flush ({codec})", producer.flush(30), 0)
    for partition, offsets in acknowledged.items():
        check(f"offsets of partition {partition}", offsets, list(range(RECORDS * len(CODECS))))
    tail(config)


def tail(config):
    """A consumer that waits at the end gets a record when it comes, not when its poll is over."""
    consumer = Consumer(config | {"group.id": "none", "fetch.wait.max.ms": 10_000, "enable.auto.commit": False})
    producer = Producer(config | {"enable.idempotence": True})
    producer.produce("tail", b"first", partition=0)
    check("left after a flush", producer.flush(30), 0)
    consumer.assign([TopicPartition("tail", 0, 0)])
    first = consumer.poll(15)
    check("the first record", first and first.value(), b"first")
    check("nothing more", consumer.poll(0.5), None)
    start = time.monotonic()
    producer.produce("tail", b"second", partition=0)
    check("left after a flush", producer.flush(30), 0)
    second = consumer.poll(15)
    check("the second record", second and second.value(), b"second")
    check("it came at once", time.monotonic() - start < 5, True)
    consumer.close()


def read(config):
    consumer = Consumer(config | {"group.id": "none", "enable.auto.commit": False, "check.crcs": True})
    total = RECORDS * len(CODECS)
    partitions = range(PARTITIONS)
    for partition in partitions:
        ends = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), 10)
        check(f"ends of partition {partition}", ends, (0, total))
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in partitions])
    wanted = {partition: expected(partition) for partition in partitions}
    for _ in range(total * PARTITIONS):
        message = consumer.poll(15)
        if message is None or message.error():
            sys.exit(f"no record: {message and message.error()}")
        found = (message.key(), message.value(), message.headers(), message.timestamp()[1])
        check(f"partition {message.partition()} at {message.offset()}", found, next(wanted[message.partition()]))
    check("nothing more", consumer.poll(0.3), None)
    for at in [0, 4321, 4320, RECORDS * 10, RECORDS * 10 + 4321]:
        asked = [TopicPartition(TOPIC, partition, FIRST_TIME + at) for partition in partitions]
        wanted = -(-at // 10)
        for found in consumer.offsets_for_times(asked, 10):
            # A batch that is compressed stays closed: there it is the first record of the right batch.
            exact = wanted <= RECORDS
            fine = found.offset == wanted if exact else RECORDS <= found.offset <= wanted
            check(f"partition {found.partition} at {at} ms: {found.offset}", fine, True)
    consumer.close()
    asked = {TopicPartition(TOPIC, partition): OffsetSpec.max_timestamp() for partition in partitions}
    admin = AdminClient(config)
    for partition, found in admin.list_offsets(asked, request_timeout=10).items():
        check(f"the latest record of {partition}", found.result(10).offset, total - 1)


if __name__ == "__main__":
    mode, address = sys.argv[1:]
    {"write": write, "read": read}[mode]({"bootstrap.servers": address, "log_level": 5})
