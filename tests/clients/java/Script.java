import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.AlterConfigsRequestData;
import org.apache.kafka.common.message.ApiVersionsRequestData;
import org.apache.kafka.common.message.CreatePartitionsRequestData;
import org.apache.kafka.common.message.CreatePartitionsRequestData.CreatePartitionsAssignment;
import org.apache.kafka.common.message.CreatePartitionsRequestData.CreatePartitionsTopic;
import org.apache.kafka.common.message.CreateTopicsRequestData;
import org.apache.kafka.common.message.CreateTopicsRequestData.CreatableReplicaAssignment;
import org.apache.kafka.common.message.CreateTopicsRequestData.CreatableTopic;
import org.apache.kafka.common.message.CreateTopicsRequestData.CreatableTopicConfig;
import org.apache.kafka.common.message.DeleteRecordsRequestData;
import org.apache.kafka.common.message.DeleteRecordsRequestData.DeleteRecordsPartition;
import org.apache.kafka.common.message.DeleteRecordsRequestData.DeleteRecordsTopic;
import org.apache.kafka.common.message.DeleteTopicsRequestData;
import org.apache.kafka.common.message.DeleteTopicsRequestData.DeleteTopicState;
import org.apache.kafka.common.message.DescribeClusterRequestData;
import org.apache.kafka.common.message.DescribeConfigsRequestData;
import org.apache.kafka.common.message.DescribeConfigsRequestData.DescribeConfigsResource;
import org.apache.kafka.common.message.DescribeLogDirsRequestData;
import org.apache.kafka.common.message.DescribeLogDirsRequestData.DescribableLogDirTopic;
import org.apache.kafka.common.message.DescribeLogDirsRequestData.DescribableLogDirTopicCollection;
import org.apache.kafka.common.message.DescribeProducersRequestData;
import org.apache.kafka.common.message.DescribeQuorumRequestData;
import org.apache.kafka.common.message.DescribeTopicPartitionsRequestData;
import org.apache.kafka.common.message.FetchRequestData;
import org.apache.kafka.common.message.FetchRequestData.FetchPartition;
import org.apache.kafka.common.message.FetchRequestData.FetchTopic;
import org.apache.kafka.common.message.FetchRequestData.ForgottenTopic;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.IncrementalAlterConfigsRequestData;
import org.apache.kafka.common.message.InitProducerIdRequestData;
import org.apache.kafka.common.message.InitProducerIdResponseData;
import org.apache.kafka.common.message.ListConfigResourcesRequestData;
import org.apache.kafka.common.message.ListOffsetsRequestData;
import org.apache.kafka.common.message.ListOffsetsRequestData.ListOffsetsPartition;
import org.apache.kafka.common.message.ListOffsetsRequestData.ListOffsetsTopic;
import org.apache.kafka.common.message.MetadataRequestData;
import org.apache.kafka.common.message.MetadataRequestData.MetadataRequestTopic;
import org.apache.kafka.common.message.MetadataResponseData;
import org.apache.kafka.common.message.OffsetForLeaderEpochRequestData;
import org.apache.kafka.common.message.OffsetForLeaderEpochRequestData.OffsetForLeaderPartition;
import org.apache.kafka.common.message.OffsetForLeaderEpochRequestData.OffsetForLeaderTopic;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceRequestData.PartitionProduceData;
import org.apache.kafka.common.message.ProduceRequestData.TopicProduceData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;

/**
 * One script for any broker with nothing in it: each question and its answer is a line of JSON on standard output. What is asked
 * in every version that the broker serves is asked of Kafka's own request classes, so that a field is what Kafka means by it.
 */
public final class Script {
    private static final byte TOPIC = 2;
    private static final byte BROKER = 4;
    private static final long FIRST_TIME = 1_700_000_000_000L;
    /** The index of a batch's attributes, whose low bits are its codec. */
    private static final int ATTRIBUTES = 21;
    private static final int CRC = 17;
    private static final int MAGIC = 16;
    private static final int COUNT = 57;

    /** Partitions for strange batches. */
    private static final int STRANGE = 70;

    private final Wire wire;
    private int strange;
    private final Map<String, Uuid> ids = new TreeMap<>();

    private Script(Wire wire) {
        this.wire = wire;
    }

    public static void main(String[] args) throws Exception {
        try (PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, "UTF-8")) {
            Script script = new Script(new Wire(args[0], out));
            script.versions();
            script.creations();
            script.metadata();
            script.configs();
            script.alterations();
            script.producing();
            script.idempotence();
            script.offsets();
            script.epochs();
            script.fetches();
            script.sessions();
            script.trims();
            script.descriptions();
            script.partitions();
            script.deletions();
        }
    }

    /** What the controller decided has reached the broker: Kafka answers before that. */
    private static void settle() throws InterruptedException {
        Thread.sleep(300);
    }

    private void versions() throws Exception {
        ApiVersionsRequestData named = new ApiVersionsRequestData().setClientSoftwareName("script").setClientSoftwareVersion("1.0");
        wire.all("api versions", ApiKeys.API_VERSIONS, named);
        wire.ask("software without a name", ApiKeys.API_VERSIONS, 3, named.duplicate().setClientSoftwareName(""));
        wire.ask("software with a bad name", ApiKeys.API_VERSIONS, 3, named.duplicate().setClientSoftwareName("a b"));
    }

    // ---- topics

    private static CreatableTopic topic(String name, int partitions, int factor, String... configs) {
        CreatableTopic topic = new CreatableTopic().setName(name).setNumPartitions(partitions).setReplicationFactor((short) factor);
        for (String config : configs) {
            String[] pair = config.split("=", 2);
            topic.configs().add(new CreatableTopicConfig().setName(pair[0]).setValue(pair.length > 1 ? pair[1] : null));
        }
        return topic;
    }

    /** With these replicas, partitions from 0 on; a partition's index may be given before a colon. */
    private static CreatableTopic assigned(String name, String... partitions) {
        CreatableTopic topic = topic(name, -1, -1);
        for (int n = 0; n < partitions.length; n++) {
            String[] pair = partitions[n].contains(":") ? partitions[n].split(":", 2) : new String[] {"" + n, partitions[n]};
            topic.assignments().add(new CreatableReplicaAssignment().setPartitionIndex(Integer.parseInt(pair[0]))
                .setBrokerIds(numbers(pair[1])));
        }
        return topic;
    }

    private static List<Integer> numbers(String text) {
        return text.isEmpty() ? List.of() : Arrays.stream(text.split(",")).map(Integer::parseInt).toList();
    }

    private static CreateTopicsRequestData creation(CreatableTopic... topics) {
        CreateTopicsRequestData request = new CreateTopicsRequestData().setTimeoutMs(30_000);
        for (CreatableTopic topic : topics) {
            request.topics().mustAdd(topic.duplicate());
        }
        return request;
    }

    /** Creates and waits for leaders; the answer is not a line. */
    private void make(CreatableTopic... topics) throws Exception {
        wire.answer(ApiKeys.CREATE_TOPICS, (short) 7, creation(topics));
        for (CreatableTopic topic : topics) {
            ids.put(topic.name(), idOf(topic.name()));
        }
        settle();
    }

    private Uuid idOf(String topic) throws Exception {
        MetadataRequestData request = new MetadataRequestData().setAllowAutoTopicCreation(false)
            .setTopics(List.of(new MetadataRequestTopic().setName(topic)));
        for (int n = 0; n < 200; n++) {
            MetadataResponseData answer = (MetadataResponseData) wire.answer(ApiKeys.METADATA, (short) 12, request);
            MetadataResponseData.MetadataResponseTopic found = answer.topics().find(topic);
            if (found != null && found.errorCode() == 0 && found.partitions().stream().allMatch(p -> p.errorCode() == 0)) {
                return found.topicId();
            }
            Thread.sleep(50);
        }
        throw new IllegalStateException(topic + " gets no leader");
    }

    private void creations() throws Exception {
        wire.all("create", ApiKeys.CREATE_TOPICS, v -> creation(topic("made-" + v, 2, 1, "retention.ms=1000000")));
        wire.all("create, by default", ApiKeys.CREATE_TOPICS, v -> creation(topic("default-" + v, v < 4 ? 1 : -1, v < 4 ? 1 : -1)));
        wire.all("create, only to see", ApiKeys.CREATE_TOPICS, creation(topic("seen", 3, 1)).setValidateOnly(true));
        settle();
        wire.ask("create what is there", ApiKeys.CREATE_TOPICS, creation(topic("made-7", 2, 1)));
        for (String name : List.of("", ".", "..", "a b", "a/b", "a\u00e4", "x".repeat(250), "__cluster_metadata")) {
            create("name '" + name + "'", topic(name, 1, 1));
        }
        create("a name of 249", topic("y".repeat(249), 1, 1));
        create("twice", topic("twice", 1, 1), topic("twice", 2, 1));
        wire.ask("create: names that collide", ApiKeys.CREATE_TOPICS,
            creation(topic("a.b", 1, 1), topic("a_b", 1, 1)).setValidateOnly(true));
        create("a name with dots", topic("c.d", 1, 1));
        settle();
        create("a name that collides", topic("c_d", 1, 1));
        for (int count : List.of(0, -2, 10_001, Integer.MAX_VALUE)) {
            create(count + " partitions", topic("count", count, 1));
        }
        for (int factor : List.of(0, -2, 2, 32767)) {
            create(factor + " replicas", topic("factor", 1, factor));
        }
        create("bad count, bad factor, bad config", topic("all", 0, 5, "nonsense=1"));
        create("bad count and bad config", topic("both", 0, 1, "nonsense=1"));
        create("assigned", assigned("assigned", "1", "1"));
        create("assigned, with a count", assigned("assigned-count", "1").setNumPartitions(1));
        create("assigned, with a factor", assigned("assigned-factor", "1").setReplicationFactor((short) 1));
        create("assigned to nobody", assigned("nobody", ""));
        create("assigned to one who is not there", assigned("absent", "7"));
        create("assigned twice to one", assigned("same", "1,1"));
        create("assigned with a gap", assigned("gap", "0:1", "2:1"));
        create("assigned from 1", assigned("from-1", "1:1"));
        create("assigned below 0", assigned("negative", "-1:1"));
        for (String config : List.of("nonsense=1", "retention.ms", "retention.ms=", "retention.ms=soon", "retention.ms=-2",
            "retention.ms=1.5", "retention.ms= 60000 ", "retention.bytes=-7", "segment.bytes=1048575", "segment.bytes=99999999999",
            "max.message.bytes=-1", "cleanup.policy=shred", "cleanup.policy=", "cleanup.policy=delete,delete",
            "cleanup.policy=none", "min.insync.replicas=0",
            "min.insync.replicas=2", "compression.type=", "compression.type=GZIP", "compression.type=none",
            "message.timestamp.type=createtime", "preallocate=maybe", "preallocate=FALSE", "message.timestamp.after.max.ms=-1",
            "message.timestamp.before.max.ms=0", "message.format.version=3.0", "message.downconversion.enable=true",
            "min.cleanable.dirty.ratio=2", "min.cleanable.dirty.ratio=x", "flush.messages=0", "flush.ms=-1", "segment.ms=0",
            "remote.storage.enable=true", "leader.replication.throttled.replicas=x", "leader.replication.throttled.replicas=*",
            "compression.gzip.level=0", "compression.lz4.level=18", "index.interval.bytes=-1", "segment.index.bytes=3",
            "delete.retention.ms=-1", "file.delete.delay.ms=-1", "segment.jitter.ms=-1",
            "unclean.leader.election.enable=1", "local.retention.ms=-3", "local.retention.bytes=-3",
            "local.retention.ms=604800001", "max.compaction.lag.ms=0")) {
            wire.ask("config " + config, ApiKeys.CREATE_TOPICS, creation(topic("config", 1, 1, config)).setValidateOnly(true));
        }
        create("a config twice", topic("config-twice", 1, 1, "retention.ms=1", "retention.ms=2"));
        create("nothing");
    }

    private void create(String what, CreatableTopic... topics) throws Exception {
        wire.ask("create: " + what, ApiKeys.CREATE_TOPICS, creation(topics));
    }

    private static MetadataRequestData about(String... names) {
        List<MetadataRequestTopic> topics = Arrays.stream(names).map(name -> new MetadataRequestTopic().setName(name)).toList();
        return new MetadataRequestData().setTopics(topics).setAllowAutoTopicCreation(false);
    }

    private void metadata() throws Exception {
        make(topic("t", 3, 1), topic("u", 1, 1, "retention.ms=-1", "max.message.bytes=2000"));
        wire.all("metadata of one", ApiKeys.METADATA, v -> about("t").setAllowAutoTopicCreation(v < 4));
        wire.all("metadata of none", ApiKeys.METADATA, v -> about().setAllowAutoTopicCreation(v < 4));
        wire.all("metadata of all", ApiKeys.METADATA,
            v -> new MetadataRequestData().setTopics(null).setAllowAutoTopicCreation(v < 4));
        wire.all("metadata of what is not there", ApiKeys.METADATA, about("nowhere", "t", "u"));
        wire.all("metadata of bad names", ApiKeys.METADATA, about("a b", "", ".."));
        wire.all("metadata twice", ApiKeys.METADATA, about("t", "t", "nowhere", "nowhere"));
        wire.all("metadata with operations", ApiKeys.METADATA, about("t").setIncludeTopicAuthorizedOperations(true));
        wire.all("metadata with the cluster's operations", ApiKeys.METADATA, about("t").setIncludeClusterAuthorizedOperations(true));
        Uuid strange = Uuid.fromString("CCCCCCCCCCCCCCCCCCCCCQ");
        for (int version = 10; version <= 13; version++) {
            wire.ask("metadata by id", ApiKeys.METADATA, version, byId(ids.get("t")));
            wire.ask("metadata by an id that nobody has", ApiKeys.METADATA, version, byId(strange));
            wire.ask("metadata by no id and no name", ApiKeys.METADATA, version, byId(Uuid.ZERO_UUID));
            wire.ask("metadata by id and by name", ApiKeys.METADATA, version, new MetadataRequestData()
                .setAllowAutoTopicCreation(false).setTopics(List.of(new MetadataRequestTopic().setName("u"),
                    new MetadataRequestTopic().setName(null).setTopicId(ids.get("t")))));
            wire.ask("metadata by an id with a name", ApiKeys.METADATA, version, new MetadataRequestData()
                .setAllowAutoTopicCreation(false).setTopics(List.of(new MetadataRequestTopic().setName("u").setTopicId(ids.get("t")))));
        }
        wire.all("metadata that creates", ApiKeys.METADATA, v -> about("auto-" + v).setAllowAutoTopicCreation(true));
        wire.ask("metadata that creates what may not be", ApiKeys.METADATA, about("a b").setAllowAutoTopicCreation(true));
        for (short version = 4; version <= 13; version++) {
            idOf("auto-" + version);
        }
        wire.ask("metadata of what that created", ApiKeys.METADATA, about("auto-4", "auto-12"));
    }

    private static MetadataRequestData byId(Uuid id) {
        return new MetadataRequestData().setAllowAutoTopicCreation(false)
            .setTopics(List.of(new MetadataRequestTopic().setName(null).setTopicId(id)));
    }

    // ---- configs

    private static DescribeConfigsRequestData described(int type, String name, String... keys) {
        return new DescribeConfigsRequestData().setResources(List.of(new DescribeConfigsResource().setResourceType((byte) type)
            .setResourceName(name).setConfigurationKeys(keys.length == 0 ? null : List.of(keys))));
    }

    private void configs() throws Exception {
        wire.all("configs of a topic", ApiKeys.DESCRIBE_CONFIGS, described(TOPIC, "u"));
        wire.all("configs, where from and what", ApiKeys.DESCRIBE_CONFIGS,
            described(TOPIC, "u").setIncludeSynonyms(true).setIncludeDocumentation(true));
        wire.ask("some configs", ApiKeys.DESCRIBE_CONFIGS, described(TOPIC, "u", "retention.ms", "nonsense", "segment.bytes"));
        DescribeConfigsRequestData none = described(TOPIC, "u");
        none.resources().get(0).setConfigurationKeys(List.of());
        wire.ask("no configs", ApiKeys.DESCRIBE_CONFIGS, none);
        wire.ask("configs of nothing", ApiKeys.DESCRIBE_CONFIGS, described(TOPIC, "nowhere"));
        wire.ask("configs of a bad name", ApiKeys.DESCRIBE_CONFIGS, described(TOPIC, "a b"));
        wire.ask("configs of an empty name", ApiKeys.DESCRIBE_CONFIGS, described(TOPIC, ""));
        wire.ask("configs of a broker", ApiKeys.DESCRIBE_CONFIGS, described(BROKER, "1").setIncludeSynonyms(true));
        wire.ask("configs of all brokers", ApiKeys.DESCRIBE_CONFIGS, described(BROKER, ""));
        for (String name : List.of("2", "x", "-1")) {
            wire.ask("configs of broker " + name, ApiKeys.DESCRIBE_CONFIGS, described(BROKER, name));
        }
        for (int type : List.of(0, 1, 3, 8, 16, 32, 99)) {
            for (String name : List.of("", "1", "name")) {
                wire.ask("configs of type " + type + " '" + name + "'", ApiKeys.DESCRIBE_CONFIGS, described(type, name));
            }
        }
        DescribeConfigsRequestData twice = described(TOPIC, "u", "retention.ms");
        twice.setResources(List.of(twice.resources().get(0), twice.resources().get(0)));
        wire.ask("configs twice", ApiKeys.DESCRIBE_CONFIGS, twice);
        wire.all("resources", ApiKeys.LIST_CONFIG_RESOURCES, new ListConfigResourcesRequestData());
        for (int type : List.of(0, 2, 4, 8, 16, 32, 99)) {
            wire.ask("resources of type " + type, ApiKeys.LIST_CONFIG_RESOURCES,
                new ListConfigResourcesRequestData().setResourceTypes(List.of((byte) type)));
        }
    }

    /** KEY=VALUE sets, KEY- deletes, KEY+=VALUE and KEY-=VALUE append and subtract, KEY alone sets to null. */
    private static IncrementalAlterConfigsRequestData change(int type, String name, String... changes) {
        IncrementalAlterConfigsRequestData.AlterConfigsResource resource =
            new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType((byte) type).setResourceName(name);
        for (String change : changes) {
            String[] pair = change.split("=", 2);
            char last = pair[0].charAt(pair[0].length() - 1);
            int op = last == '+' ? 2 : last == '-' ? pair.length > 1 ? 3 : 1 : last == '?' ? 9 : 0;
            String key = op == 0 ? pair[0] : pair[0].substring(0, pair[0].length() - 1);
            resource.configs().mustAdd(new IncrementalAlterConfigsRequestData.AlterableConfig().setName(key)
                .setConfigOperation((byte) op).setValue(pair.length > 1 ? pair[1] : null));
        }
        IncrementalAlterConfigsRequestData request = new IncrementalAlterConfigsRequestData();
        request.resources().mustAdd(resource);
        return request;
    }

    private static AlterConfigsRequestData replace(int type, String name, String... configs) {
        AlterConfigsRequestData.AlterConfigsResource resource =
            new AlterConfigsRequestData.AlterConfigsResource().setResourceType((byte) type).setResourceName(name);
        for (String config : configs) {
            String[] pair = config.split("=", 2);
            resource.configs().mustAdd(new AlterConfigsRequestData.AlterableConfig().setName(pair[0])
                .setValue(pair.length > 1 ? pair[1] : null));
        }
        AlterConfigsRequestData request = new AlterConfigsRequestData();
        request.resources().mustAdd(resource);
        return request;
    }

    private void alterations() throws Exception {
        make(topic("altered", 1, 1, "retention.ms=5000"));
        wire.all("change", ApiKeys.INCREMENTAL_ALTER_CONFIGS,
            change(TOPIC, "altered", "retention.bytes=1000000", "segment.bytes=2000000"));
        wire.all("change, only to see", ApiKeys.INCREMENTAL_ALTER_CONFIGS,
            change(TOPIC, "altered", "retention.bytes=7").setValidateOnly(true));
        stands("changed");
        for (String[] changes : List.of(new String[] {"nonsense=1"}, new String[] {"retention.ms=soon"}, new String[] {"nonsense-"},
            new String[] {"retention.ms"}, new String[] {"retention.ms?=1"}, new String[] {"retention.ms+=1"},
            new String[] {"cleanup.policy+=delete"}, new String[] {"cleanup.policy-=delete"}, new String[] {"preallocate-"},
            new String[] {"retention.ms=1", "segment.bytes=1"}, new String[] {"retention.ms=1", "retention.ms=2"},
            new String[] {})) {
            wire.ask("change: " + String.join(" ", changes), ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(TOPIC, "altered", changes));
        }
        wire.ask("change and take back", ApiKeys.INCREMENTAL_ALTER_CONFIGS,
            change(TOPIC, "altered", "retention.bytes-", "retention.ms=6000"));
        stands("taken back");
        wire.all("replace", ApiKeys.ALTER_CONFIGS, replace(TOPIC, "altered", "max.message.bytes=5000"));
        stands("replaced");
        wire.all("replace, only to see", ApiKeys.ALTER_CONFIGS, replace(TOPIC, "altered").setValidateOnly(true));
        wire.ask("replace by nonsense", ApiKeys.ALTER_CONFIGS, replace(TOPIC, "altered", "nonsense=1"));
        wire.ask("replace by null", ApiKeys.ALTER_CONFIGS, replace(TOPIC, "altered", "retention.ms"));
        wire.ask("replace by nothing", ApiKeys.ALTER_CONFIGS, replace(TOPIC, "altered"));
        stands("nothing left");
        for (String name : List.of("nowhere", "a b", "")) {
            wire.ask("change topic '" + name + "'", ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(TOPIC, name, "retention.ms=1"));
            wire.ask("replace topic '" + name + "'", ApiKeys.ALTER_CONFIGS, replace(TOPIC, name, "retention.ms=1"));
        }
        for (int type : List.of(0, 1, 99)) {
            wire.ask("change type " + type, ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(type, "x", "a=b"));
            wire.ask("replace type " + type, ApiKeys.ALTER_CONFIGS, replace(type, "x", "a=b"));
        }
        IncrementalAlterConfigsRequestData twice = change(TOPIC, "altered", "retention.ms=1");
        twice.resources().mustAdd(twice.resources().valuesList().get(0).duplicate());
        wire.ask("change twice", ApiKeys.INCREMENTAL_ALTER_CONFIGS, twice);
        wire.ask("change all brokers", ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(BROKER, "", "log.retention.ms=3600000"));
        wire.ask("change a broker", ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(BROKER, "1", "message.max.bytes=900000"));
        settle();
        wire.ask("what a broker's configs do to a topic", ApiKeys.DESCRIBE_CONFIGS,
            described(TOPIC, "t", "retention.ms", "max.message.bytes").setIncludeSynonyms(true));
        wire.ask("configs set for all brokers", ApiKeys.DESCRIBE_CONFIGS, described(BROKER, "").setIncludeSynonyms(true));
        for (String change : List.of("log.retention.hours=5", "num.partitions=3", "message.max.bytes=x", "log.retention.ms=soon",
            "listeners=PLAINTEXT://:1")) {
            wire.ask("change broker 1: " + change, ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(BROKER, "1", change));
        }
        for (String name : List.of("2", "x", "01")) {
            wire.ask("change broker '" + name + "'", ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(BROKER, name, "message.max.bytes=900000"));
        }
        wire.ask("back for all brokers", ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(BROKER, "", "log.retention.ms-"));
        wire.ask("back for a broker", ApiKeys.INCREMENTAL_ALTER_CONFIGS, change(BROKER, "1", "message.max.bytes-"));
        settle();
    }

    private void stands(String what) throws Exception {
        settle();
        wire.ask("configs: " + what, ApiKeys.DESCRIBE_CONFIGS, described(TOPIC, "altered", "retention.ms", "retention.bytes",
            "segment.bytes", "max.message.bytes").setIncludeSynonyms(true));
    }

    // ---- produce

    /** Records a minute apart, the first one at FIRST_TIME. */
    private static SimpleRecord[] records(String... values) {
        SimpleRecord[] records = new SimpleRecord[values.length];
        for (int n = 0; n < values.length; n++) {
            records[n] = new SimpleRecord(FIRST_TIME + 60_000L * n, "k".getBytes(), values[n].getBytes());
        }
        return records;
    }

    private static MemoryRecords batch(String... values) {
        return MemoryRecords.withRecords(Compression.NONE, records(values));
    }

    private static MemoryRecords bytes(byte[] bytes) {
        return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes));
    }

    private static byte[] bytes(MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    /** A batch changed behind its checksum, which is made right again. */
    private static MemoryRecords spoilt(MemoryRecords records, Consumer<ByteBuffer> change) {
        byte[] batch = bytes(records);
        ByteBuffer buffer = ByteBuffer.wrap(batch);
        change.accept(buffer);
        java.util.zip.CRC32C crc = new java.util.zip.CRC32C();
        crc.update(batch, ATTRIBUTES, batch.length - ATTRIBUTES);
        buffer.putInt(CRC, (int) crc.getValue());
        return bytes(batch);
    }

    private ProduceRequestData produce(int version, String topic, int partition, MemoryRecords records) {
        TopicProduceData data = new TopicProduceData().setPartitionData(new ArrayList<>(List.of(
            new PartitionProduceData().setIndex(partition).setRecords(records))));
        if (version < 13) {
            data.setName(topic);
        } else {
            data.setTopicId(ids.getOrDefault(topic, Uuid.fromString("DDDDDDDDDDDDDDDDDDDDDQ")));
        }
        ProduceRequestData request = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(10_000);
        request.topicData().add(data);
        return request;
    }

    private void producing() throws Exception {
        make(topic("log", 1, 1, "retention.ms=-1"), topic("strange", STRANGE, 1, "retention.ms=-1"), topic("small", 1, 1, "max.message.bytes=500"), topic("stamped", 1, 1,
            "message.timestamp.type=LogAppendTime"), topic("bounded", 1, 1, "message.timestamp.before.max.ms=3600000"));
        wire.all("produce", ApiKeys.PRODUCE, v -> produce(v, "log", 0, batch("version " + v, "and one more")));
        wire.all("produce, acks=1", ApiKeys.PRODUCE, v -> produce(v, "log", 0, batch("acks " + v)).setAcks((short) 1));
        wire.all("produce to a topic that is not there", ApiKeys.PRODUCE, v -> produce(v, "nowhere", 0, batch("x")));
        // By no name, and from version 13 on by no id.
        ids.put("", Uuid.ZERO_UUID);
        wire.all("produce to an empty name", ApiKeys.PRODUCE, v -> produce(v, "", 0, batch("x")));
        wire.all("produce to a partition that is not there", ApiKeys.PRODUCE, v -> produce(v, "log", 9, batch("x")));
        wire.all("produce with acks=2", ApiKeys.PRODUCE, v -> produce(v, "log", 0, batch("x")).setAcks((short) 2));
        wire.all("produce too much", ApiKeys.PRODUCE, v -> produce(v, "small", 0, batch("x".repeat(600))));
        wire.all("produce the too old", ApiKeys.PRODUCE, v -> produce(v, "bounded", 0, batch("old", "older")));
        wire.all("produce under the broker's time", ApiKeys.PRODUCE, v -> produce(v, "stamped", 0, batch("now")));
        wire.all("produce zstd", ApiKeys.PRODUCE,
            v -> produce(v, "log", 0, MemoryRecords.withRecords(Compression.zstd().build(), records("z " + v))));
        for (Compression codec : List.of(Compression.gzip().build(), Compression.snappy().build(), Compression.lz4().build())) {
            wire.ask("produce " + codec.type().name, ApiKeys.PRODUCE,
                produce(13, "log", 0, MemoryRecords.withRecords(codec, records(codec.type().name, "twice"))));
        }
        long ahead = System.currentTimeMillis() + 7_200_000;
        wire.ask("produce what is to come", ApiKeys.PRODUCE, produce(13, "log", 0, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(ahead, "k".getBytes(), "soon".getBytes()))));
        wire.ask("produce without a time", ApiKeys.PRODUCE, produce(13, "log", 0, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(-1, "k".getBytes(), "timeless".getBytes()))));
        wire.ask("produce null", ApiKeys.PRODUCE, produce(13, "log", 0, MemoryRecords.withRecords(Compression.NONE,
            new SimpleRecord(FIRST_TIME, (byte[]) null, null))));
        strangeBatches();
        silently();
    }

    private void strangeBatches() throws Exception {
        strange("no records", null);
        strange("no bytes", bytes(new byte[0]));
        strange("half a batch", bytes(Arrays.copyOf(bytes(batch("half")), 40)));
        strange("a batch cut short", bytes(Arrays.copyOf(bytes(batch("half")), 70)));
        strange("a batch and a half", bytes(twice(bytes(batch("one")), 30)));
        strange("two batches", bytes(twice(bytes(batch("one")), bytes(batch("one")).length)));
        byte[] flipped = bytes(batch("flipped"));
        flipped[flipped.length - 2] ^= 1;
        strange("a bad checksum", bytes(flipped));
        for (int magic : List.of(0, 1, 3, -1)) {
            strange("magic " + magic, spoilt(batch("magic"), b -> b.put(MAGIC, (byte) magic)));
        }
        strange("magic 1, well formed", MemoryRecords.withRecords((byte) 1, Compression.NONE, records("old")));
        strange("codec 5", spoilt(batch("codec"), b -> b.putShort(ATTRIBUTES, (short) 5)));
        strange("codec 7", spoilt(batch("codec"), b -> b.putShort(ATTRIBUTES, (short) 7)));
        strange("gzip that is none", spoilt(batch("codec"), b -> b.putShort(ATTRIBUTES, (short) 1)));
        strange("control", spoilt(batch("control"), b -> b.putShort(ATTRIBUTES, (short) 0x20)));
        strange("LogAppendTime", spoilt(batch("stamped"), b -> b.putShort(ATTRIBUTES, (short) 0x8)));
        strange("transactional without a producer", spoilt(batch("txn"), b -> b.putShort(ATTRIBUTES, (short) 0x10)));
        strange("one record too many in the count", spoilt(batch("count"), b -> b.putInt(COUNT, 2)));
        strange("a count of 0", spoilt(batch("count"), b -> b.putInt(COUNT, 0)));
        strange("a count below 0", spoilt(batch("count"), b -> b.putInt(COUNT, -1)));
        strange("a last offset too far", spoilt(batch("last"), b -> b.putInt(23, 5)));
        strange("a base offset", spoilt(batch("base"), b -> b.putLong(0, 77)));
        strange("a leader epoch", spoilt(batch("epoch"), b -> b.putInt(12, 77)));
        strange("a maximal timestamp too low", spoilt(batch("max", "more"), b -> b.putLong(35, 5)));
        strange("a sequence without a producer", spoilt(batch("seq"), b -> b.putInt(53, 0)));
        strange("a producer without a sequence", spoilt(batch("pid"), b -> b.putLong(43, 4_000_000).putShort(51, (short) 0)));
        strange("a producer's epoch below 0", spoilt(batch("pid"), b -> b.putLong(43, 77).putShort(51, (short) -1).putInt(53, 0)));
        strange("a length below 0", spoilt(batch("length"), b -> b.putInt(8, -1)));
        strange("a length too small", spoilt(batch("length"), b -> b.putInt(8, 20)));
        strange("a length too great", spoilt(batch("length"), b -> b.putInt(8, 1_000_000)));
        strange("a record's length wrong", spoilt(batch("inner"), b -> b.put(61, (byte) 126)));
    }

    private static byte[] twice(byte[] batch, int more) {
        byte[] both = Arrays.copyOf(batch, batch.length + more);
        System.arraycopy(batch, 0, both, batch.length, more);
        return both;
    }

    private void strange(String what, MemoryRecords records) throws Exception {
        // Each in a partition of its own, so that what only one broker takes moves nothing else.
        wire.ask("produce: " + what, ApiKeys.PRODUCE, produce(13, "strange", 2 * strange, records));
        wire.ask("produce: " + what, ApiKeys.PRODUCE, 9, produce(9, "strange", 2 * strange + 1, records));
        strange++;
    }

    private void silently() throws Exception {
        wire.askSilently("produce, acks=0", ApiKeys.PRODUCE, 9, produce(9, "log", 0, batch("silent")).setAcks((short) 0));
        wire.askSilently("produce, acks=0, to nothing", ApiKeys.PRODUCE, 9, produce(9, "nowhere", 0, batch("x")).setAcks((short) 0));
        wire.askSilently("produce, acks=0, too much", ApiKeys.PRODUCE, 9,
            produce(9, "small", 0, batch("x".repeat(600))).setAcks((short) 0));
    }

    private void idempotence() throws Exception {
        make(topic("idem", 2, 1, "retention.ms=-1"));
        InitProducerIdRequestData init = new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000);
        long id = -1;
        // Kafka's broker has none to give until its controller has sent some.
        for (int n = 0; n < 200 && id < 0; n++) {
            id = ((InitProducerIdResponseData) wire.answer(ApiKeys.INIT_PRODUCER_ID, (short) 4, init)).producerId();
            Thread.sleep(id < 0 ? 50 : 0);
        }
        wire.all("a producer id", ApiKeys.INIT_PRODUCER_ID, new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(60_000));
        wire.all("a producer id, without a timeout", ApiKeys.INIT_PRODUCER_ID, new InitProducerIdRequestData().setTransactionalId(null).setTransactionTimeoutMs(-1));
        wire.ask("a producer id for one that has one", ApiKeys.INIT_PRODUCER_ID, 5, init.duplicate().setProducerId(1).setProducerEpoch((short) 0));
        wire.ask("a producer id with an epoch alone", ApiKeys.INIT_PRODUCER_ID, 5, init.duplicate().setProducerEpoch((short) 0));
        wire.ask("a producer id with an id alone", ApiKeys.INIT_PRODUCER_ID, 5, init.duplicate().setProducerId(5));
        wire.ask("a producer id for an empty transactional id", ApiKeys.INIT_PRODUCER_ID, 5, init.duplicate().setTransactionalId(""));
        send("0", id, 0, 0, 2);
        send("2", id, 0, 2, 1);
        send("0 again", id, 0, 0, 2);
        send("2 again", id, 0, 2, 1);
        send("a part of 0", id, 0, 0, 1);
        send("2 with more", id, 0, 2, 2);
        send("a gap", id, 0, 5, 1);
        send("3", id, 0, 3, 1);
        for (int n = 4; n < 10; n++) {
            send(n + "", id, 0, n, 1);
        }
        send("0, six batches ago", id, 0, 0, 2);
        send("a later epoch, not at 0", id, 1, 3, 1);
        send("a later epoch", id, 1, 0, 1);
        send("the epoch before", id, 0, 10, 1);
        send("an unknown producer at 5", id + 500, 0, 5, 1);
        send("an unknown producer at 5, again", id + 500, 0, 5, 1);
        send("an unknown producer at 5, further", id + 500, 0, 6, 1);
        send("a sequence about to wrap", id + 501, 0, Integer.MAX_VALUE, 2);
        send("a wrapped sequence", id + 501, 0, 1, 1);
        MemoryRecords first = idempotent(id + 502, 0, 0, 1);
        byte[] both = twice(bytes(first), bytes(first).length);
        wire.ask("idempotent: two batches in one", ApiKeys.PRODUCE, produce(13, "idem", 0, bytes(both)));
        wire.ask("idempotent: transactional without a transaction", ApiKeys.PRODUCE, produce(13, "idem", 0,
            MemoryRecords.withTransactionalRecords(Compression.NONE, id, (short) 1, 1, records("txn"))));
        DescribeProducersRequestData producers = new DescribeProducersRequestData().setTopics(List.of(
            new DescribeProducersRequestData.TopicRequest().setName("idem").setPartitionIndexes(List.of(0, 1, 2)),
            new DescribeProducersRequestData.TopicRequest().setName("nowhere").setPartitionIndexes(List.of(0))));
        wire.all("producers", ApiKeys.DESCRIBE_PRODUCERS, producers);
    }

    private static MemoryRecords idempotent(long id, int epoch, int sequence, int count) {
        String[] values = new String[count];
        Arrays.setAll(values, n -> "s" + (sequence + n));
        return MemoryRecords.withIdempotentRecords(Compression.NONE, id, (short) epoch, sequence, records(values));
    }

    private void send(String what, long id, int epoch, int sequence, int count) throws Exception {
        wire.ask("idempotent: " + what, ApiKeys.PRODUCE, produce(13, "idem", 0, idempotent(id, epoch, sequence, count)));
    }

    // ---- offsets

    private static ListOffsetsRequestData list(String topic, int partition, long timestamp, int epoch) {
        return new ListOffsetsRequestData().setReplicaId(-1).setTopics(List.of(new ListOffsetsTopic().setName(topic).setPartitions(List.of(
            new ListOffsetsPartition().setPartitionIndex(partition).setTimestamp(timestamp).setCurrentLeaderEpoch(epoch)))));
    }

    private void offsets() throws Exception {
        make(topic("offsets", 2, 1, "retention.ms=-1"));
        for (int n = 0; n < 3; n++) {
            wire.answer(ApiKeys.PRODUCE, (short) 9, produce(9, "offsets", 0, MemoryRecords.withRecords(Compression.NONE,
                new SimpleRecord(FIRST_TIME + 1000 * n, "a".getBytes()), new SimpleRecord(FIRST_TIME + 1000 * n + 500, "b".getBytes()),
                new SimpleRecord(FIRST_TIME + 1000 * n + 200, "c".getBytes()))));
        }
        for (long time : List.of(-1L, -2L, -3L, -4L, -5L, -6L, -7L, 0L, FIRST_TIME, FIRST_TIME + 1, FIRST_TIME + 500, FIRST_TIME + 501,
            FIRST_TIME + 1200, FIRST_TIME + 2400, FIRST_TIME + 2500, FIRST_TIME + 2501, Long.MAX_VALUE)) {
            wire.all("offset at " + time, ApiKeys.LIST_OFFSETS, list("offsets", 0, time, -1));
            wire.ask("offset at " + time + " of nothing", ApiKeys.LIST_OFFSETS, list("offsets", 1, time, -1));
        }
        wire.all("offset of a topic that is not there", ApiKeys.LIST_OFFSETS, list("nowhere", 0, -1, -1));
        wire.ask("offset of an empty name", ApiKeys.LIST_OFFSETS, list("", 0, -1, -1));
        wire.all("offset of a partition that is not there", ApiKeys.LIST_OFFSETS, list("offsets", 7, -1, -1));
        wire.all("offset, committed", ApiKeys.LIST_OFFSETS, list("offsets", 0, -1, -1).setIsolationLevel((byte) 1));
        wire.all("offset, isolation 2", ApiKeys.LIST_OFFSETS, list("offsets", 0, -1, -1).setIsolationLevel((byte) 2));
        wire.ask("offset of this epoch", ApiKeys.LIST_OFFSETS, list("offsets", 0, -1, 0));
        wire.ask("offset of an epoch to come", ApiKeys.LIST_OFFSETS, list("offsets", 0, -1, 9));
        wire.ask("offset for a replica", ApiKeys.LIST_OFFSETS, list("offsets", 0, -1, -1).setReplicaId(1));
        wire.ask("offset for a debugger", ApiKeys.LIST_OFFSETS, list("offsets", 0, -1, -1).setReplicaId(-2));
        ListOffsetsRequestData twice = list("offsets", 0, -1, -1);
        twice.topics().get(0).setPartitions(List.of(twice.topics().get(0).partitions().get(0), twice.topics().get(0).partitions().get(0)));
        wire.ask("offset twice", ApiKeys.LIST_OFFSETS, twice);
    }

    private static OffsetForLeaderEpochRequestData end(String topic, int partition, int epoch, int current) {
        OffsetForLeaderEpochRequestData request = new OffsetForLeaderEpochRequestData().setReplicaId(-1);
        request.topics().add(new OffsetForLeaderTopic().setTopic(topic).setPartitions(List.of(new OffsetForLeaderPartition()
            .setPartition(partition).setLeaderEpoch(epoch).setCurrentLeaderEpoch(current))));
        return request;
    }

    private void epochs() throws Exception {
        for (int epoch : List.of(0, -1, -2, 1, 5)) {
            wire.all("end of epoch " + epoch, ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 0, epoch, -1));
            wire.ask("end of epoch " + epoch + " of nothing", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 1, epoch, -1));
        }
        wire.ask("end of an epoch, in this one", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 0, 0, 0));
        wire.ask("end of an epoch, in one to come", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 0, 0, 9));
        wire.ask("end of an epoch of nothing", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("nowhere", 0, 0, -1));
        wire.ask("end of an epoch of an empty name", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("", 0, 0, -1));
        wire.ask("end of an epoch of no partition", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 7, 0, -1));
        wire.ask("end of an epoch for a debugger", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 0, 0, -1).setReplicaId(-2));
    }

    private FetchRequestData fetch(int version, String topic, int partition, long offset) {
        FetchTopic asked = new FetchTopic().setPartitions(new ArrayList<>(List.of(new FetchPartition().setPartition(partition)
            .setFetchOffset(offset).setPartitionMaxBytes(1 << 20))));
        if (version < 13) {
            asked.setTopic(topic);
        } else {
            asked.setTopicId(ids.getOrDefault(topic, Uuid.fromString("DDDDDDDDDDDDDDDDDDDDDQ")));
        }
        return new FetchRequestData().setMaxWaitMs(0).setMinBytes(1).setMaxBytes(1 << 20).setTopics(new ArrayList<>(List.of(asked)))
            .setReplicaId(-1);
    }

    /** The one partition of a fetch. */
    private static FetchRequestData with(FetchRequestData request, Consumer<FetchPartition> change) {
        change.accept(request.topics().get(0).partitions().get(0));
        return request;
    }

    private void fetches() throws Exception {
        for (long offset : List.of(0L, 1L, 8L, 9L, 10L, -1L, Long.MAX_VALUE)) {
            wire.all("fetch at " + offset, ApiKeys.FETCH, v -> fetch(v, "offsets", 0, offset));
        }
        wire.all("fetch nothing", ApiKeys.FETCH, v -> fetch(v, "offsets", 1, 0));
        wire.all("fetch, committed", ApiKeys.FETCH, v -> fetch(v, "offsets", 0, 3).setIsolationLevel((byte) 1));
        wire.all("fetch a topic that is not there", ApiKeys.FETCH, v -> fetch(v, "nowhere", 0, 0));
        wire.all("fetch an empty name", ApiKeys.FETCH, v -> fetch(v, "", 0, 0));
        wire.all("fetch a partition that is not there", ApiKeys.FETCH, v -> fetch(v, "offsets", 7, 0));
        wire.all("fetch a little", ApiKeys.FETCH, v -> with(fetch(v, "offsets", 0, 0), p -> p.setPartitionMaxBytes(1)));
        wire.all("fetch a little in all", ApiKeys.FETCH, v -> fetch(v, "offsets", 0, 0).setMaxBytes(1));
        wire.all("fetch in an epoch to come", ApiKeys.FETCH, v -> with(fetch(v, "offsets", 0, 0), p -> p.setCurrentLeaderEpoch(9)));
        wire.all("fetch in this epoch", ApiKeys.FETCH, v -> with(fetch(v, "offsets", 0, 0), p -> p.setCurrentLeaderEpoch(0)));
        wire.all("fetch after epoch 0", ApiKeys.FETCH, v -> with(fetch(v, "offsets", 0, 3), p -> p.setLastFetchedEpoch(v < 12 ? -1 : 0)));
        wire.all("fetch after epoch 0, past the end", ApiKeys.FETCH,
            v -> with(fetch(v, "offsets", 0, 30), p -> p.setLastFetchedEpoch(v < 12 ? -1 : 0)));
        wire.all("fetch after an epoch to come", ApiKeys.FETCH,
            v -> with(fetch(v, "offsets", 0, 3), p -> p.setLastFetchedEpoch(v < 12 ? -1 : 9)));
        wire.ask("fetch nothing at all", ApiKeys.FETCH, fetch(18, "offsets", 0, 0).setTopics(List.of()));
        wire.ask("fetch with bytes below 0", ApiKeys.FETCH, with(fetch(18, "offsets", 0, 0), p -> p.setPartitionMaxBytes(-1)));
        wire.ask("fetch with all bytes below 0", ApiKeys.FETCH, fetch(18, "offsets", 0, 0).setMaxBytes(-1));
        FetchRequestData twice = fetch(18, "offsets", 0, 0);
        twice.topics().get(0).partitions().add(twice.topics().get(0).partitions().get(0).duplicate().setFetchOffset(9));
        wire.ask("fetch twice", ApiKeys.FETCH, twice);
        FetchRequestData two = fetch(18, "offsets", 0, 0).setMaxBytes(1);
        two.topics().addAll(fetch(18, "log", 0, 0).topics());
        wire.ask("fetch two, a little in all", ApiKeys.FETCH, two);
        wire.ask("what was produced", ApiKeys.FETCH, fetch(18, "log", 0, 0));
        wire.ask("what was produced, in version 4", ApiKeys.FETCH, 4, fetch(4, "log", 0, 0));
        for (int partition = 0; partition < 2 * strange; partition += 2) {
            wire.ask("what strange thing is in " + partition, ApiKeys.FETCH, fetch(18, "strange", partition, 0));
        }
        wire.ask("what was produced under the broker's time", ApiKeys.FETCH, fetch(18, "stamped", 0, 0));
        wire.ask("what was produced idempotently", ApiKeys.FETCH, fetch(18, "idem", 0, 0));
    }

    private void sessions() throws Exception {
        for (int version : List.of(7, 12, 13, 18)) {
            String in = " (" + version + ")";
            FetchResponseData opened = (FetchResponseData) wire.answer(ApiKeys.FETCH, (short) version,
                fetch(version, "offsets", 0, 9).setSessionEpoch(0));
            FetchRequestData next = fetch(version, "offsets", 0, 0).setTopics(List.of()).setSessionId(opened.sessionId());
            wire.ask("session: nothing new" + in, ApiKeys.FETCH, version, next.duplicate().setSessionEpoch(1));
            wire.ask("session: an epoch again" + in, ApiKeys.FETCH, version, next.duplicate().setSessionEpoch(1));
            wire.ask("session: another place" + in, ApiKeys.FETCH, version,
                fetch(version, "offsets", 0, 6).setSessionId(opened.sessionId()).setSessionEpoch(2));
            wire.ask("session: one more partition" + in, ApiKeys.FETCH, version,
                fetch(version, "offsets", 1, 0).setSessionId(opened.sessionId()).setSessionEpoch(3));
            wire.ask("session: one that is not there" + in, ApiKeys.FETCH, version,
                fetch(version, "nowhere", 1, 0).setSessionId(opened.sessionId()).setSessionEpoch(4));
            ForgottenTopic forgotten = new ForgottenTopic().setPartitions(List.of(0));
            if (version < 13) {
                forgotten.setTopic("offsets");
            } else {
                forgotten.setTopicId(ids.get("offsets"));
            }
            wire.ask("session: one forgotten" + in, ApiKeys.FETCH, version,
                next.duplicate().setSessionEpoch(5).setForgottenTopicsData(List.of(forgotten)));
            wire.ask("session: after that" + in, ApiKeys.FETCH, version, next.duplicate().setSessionEpoch(6));
            wire.ask("session: ended" + in, ApiKeys.FETCH, version, fetch(version, "offsets", 0, 9)
                .setSessionId(opened.sessionId()).setSessionEpoch(-1));
            wire.ask("session: after its end" + in, ApiKeys.FETCH, version, next.duplicate().setSessionEpoch(7));
            wire.ask("session: of nobody" + in, ApiKeys.FETCH, version, next.duplicate().setSessionId(77).setSessionEpoch(3));
            wire.ask("session: none, epoch 5" + in, ApiKeys.FETCH, version, fetch(version, "offsets", 0, 9).setSessionEpoch(5));
        }
    }

    private static DeleteRecordsRequestData trim(String topic, int partition, long offset) {
        return new DeleteRecordsRequestData().setTimeoutMs(10_000).setTopics(List.of(new DeleteRecordsTopic().setName(topic)
            .setPartitions(List.of(new DeleteRecordsPartition().setPartitionIndex(partition).setOffset(offset)))));
    }

    private void trims() throws Exception {
        wire.all("trim to 0", ApiKeys.DELETE_RECORDS, trim("offsets", 0, 0));
        wire.all("trim into a batch", ApiKeys.DELETE_RECORDS, trim("offsets", 0, 4));
        for (long offset : List.of(1L, -2L, 10L, Long.MAX_VALUE)) {
            wire.ask("trim to " + offset, ApiKeys.DELETE_RECORDS, trim("offsets", 0, offset));
        }
        wire.ask("trim a topic that is not there", ApiKeys.DELETE_RECORDS, trim("nowhere", 0, 0));
        wire.ask("trim an empty name", ApiKeys.DELETE_RECORDS, trim("", 0, 0));
        wire.ask("trim a partition that is not there", ApiKeys.DELETE_RECORDS, trim("offsets", 7, 0));
        for (long offset : List.of(0L, 3L, 4L, 5L)) {
            wire.ask("fetch at " + offset + " of what begins at 4", ApiKeys.FETCH, fetch(18, "offsets", 0, offset));
        }
        for (long time : List.of(-1L, -2L, -3L, -4L, FIRST_TIME, FIRST_TIME + 1000, FIRST_TIME + 1100, FIRST_TIME + 1500)) {
            wire.ask("offset at " + time + " of what begins at 4", ApiKeys.LIST_OFFSETS, list("offsets", 0, time, -1));
        }
        wire.ask("end of epoch 0 of what begins at 4", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 0, 0, -1));
        wire.ask("produce to what begins at 4", ApiKeys.PRODUCE, produce(13, "offsets", 0, batch("after")));
        wire.ask("trim all", ApiKeys.DELETE_RECORDS, trim("offsets", 0, -1));
        for (long time : List.of(-1L, -2L, -3L, 0L)) {
            wire.ask("offset at " + time + " of what is empty", ApiKeys.LIST_OFFSETS, list("offsets", 0, time, -1));
        }
        wire.ask("end of epoch 0 of what is empty", ApiKeys.OFFSET_FOR_LEADER_EPOCH, end("offsets", 0, 0, -1));
        wire.ask("fetch what is empty", ApiKeys.FETCH, fetch(18, "offsets", 0, 10));
    }

    // ---- descriptions

    private void descriptions() throws Exception {
        wire.all("log directories", ApiKeys.DESCRIBE_LOG_DIRS, directories("offsets:0,1,7", "t:0", "nowhere:0"));
        wire.all("log directories of nothing", ApiKeys.DESCRIBE_LOG_DIRS, directories());
        wire.all("log directories, all", ApiKeys.DESCRIBE_LOG_DIRS, new DescribeLogDirsRequestData().setTopics(null));
        DescribeTopicPartitionsRequestData pages = new DescribeTopicPartitionsRequestData().setResponsePartitionLimit(2000);
        wire.ask("partitions of all", ApiKeys.DESCRIBE_TOPIC_PARTITIONS, pages.duplicate());
        wire.ask("partitions", ApiKeys.DESCRIBE_TOPIC_PARTITIONS, named(pages, "t", "nowhere", "a b", "offsets"));
        wire.ask("partitions twice", ApiKeys.DESCRIBE_TOPIC_PARTITIONS, named(pages, "t", "t"));
        for (int limit : List.of(2, 1, 0, -1, 3, 4)) {
            wire.ask("partitions, limit " + limit, ApiKeys.DESCRIBE_TOPIC_PARTITIONS,
                named(pages, "offsets", "t", "nowhere").setResponsePartitionLimit(limit));
        }
        for (String cursor : List.of("t:0", "t:2", "t:3", "t:9", "p:0", "p:5", "zz:0", "t:-1", "nowhere:0", "log:0")) {
            String[] pair = cursor.split(":");
            wire.ask("partitions from " + cursor, ApiKeys.DESCRIBE_TOPIC_PARTITIONS, named(pages, "offsets", "t", "nowhere").setCursor(
                new DescribeTopicPartitionsRequestData.Cursor().setTopicName(pair[0]).setPartitionIndex(Integer.parseInt(pair[1]))));
        }
        wire.all("cluster", ApiKeys.DESCRIBE_CLUSTER, new DescribeClusterRequestData());
        wire.all("cluster and operations", ApiKeys.DESCRIBE_CLUSTER, new DescribeClusterRequestData().setIncludeClusterAuthorizedOperations(true));
        for (int type : List.of(2, 0, 3)) {
            wire.all("cluster, endpoint " + type, ApiKeys.DESCRIBE_CLUSTER, new DescribeClusterRequestData().setEndpointType((byte) type));
        }
        wire.ask("cluster with the fenced", ApiKeys.DESCRIBE_CLUSTER, new DescribeClusterRequestData().setIncludeFencedBrokers(true));
        wire.all("quorum", ApiKeys.DESCRIBE_QUORUM, quorum("__cluster_metadata", 0));
        wire.all("quorum of another topic", ApiKeys.DESCRIBE_QUORUM, quorum("t", 0));
        wire.all("quorum of another partition", ApiKeys.DESCRIBE_QUORUM, quorum("__cluster_metadata", 1));
        wire.all("quorum of nothing", ApiKeys.DESCRIBE_QUORUM, new DescribeQuorumRequestData());
    }

    private static DescribeLogDirsRequestData directories(String... topics) {
        DescribableLogDirTopicCollection asked = new DescribableLogDirTopicCollection();
        for (String topic : topics) {
            String[] pair = topic.split(":");
            asked.add(new DescribableLogDirTopic().setTopic(pair[0]).setPartitions(numbers(pair[1])));
        }
        return new DescribeLogDirsRequestData().setTopics(asked);
    }

    private static DescribeTopicPartitionsRequestData named(DescribeTopicPartitionsRequestData request, String... names) {
        return request.duplicate().setTopics(Arrays.stream(names)
            .map(name -> new DescribeTopicPartitionsRequestData.TopicRequest().setName(name)).toList());
    }

    private static DescribeQuorumRequestData quorum(String topic, int partition) {
        return new DescribeQuorumRequestData().setTopics(List.of(new DescribeQuorumRequestData.TopicData().setTopicName(topic)
            .setPartitions(List.of(new DescribeQuorumRequestData.PartitionData().setPartitionIndex(partition)))));
    }

    // ---- partitions and the end

    private static CreatePartitionsTopic more(String topic, int count, String... assignments) {
        CreatePartitionsTopic more = new CreatePartitionsTopic().setName(topic).setCount(count).setAssignments(null);
        if (assignments.length > 0) {
            more.setAssignments(Arrays.stream(assignments)
                .map(brokers -> new CreatePartitionsAssignment().setBrokerIds(numbers(brokers))).toList());
        }
        return more;
    }

    private static CreatePartitionsRequestData growth(CreatePartitionsTopic... topics) {
        CreatePartitionsRequestData request = new CreatePartitionsRequestData().setTimeoutMs(30_000);
        for (CreatePartitionsTopic topic : topics) {
            request.topics().mustAdd(topic);
        }
        return request;
    }

    private void partitions() throws Exception {
        make(topic("grown", 2, 1));
        wire.all("more partitions", ApiKeys.CREATE_PARTITIONS, v -> growth(more("grown", 3 + v)));
        wire.all("more partitions, only to see", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 20)).setValidateOnly(true));
        for (int count : List.of(6, 3, 0, -1)) {
            wire.ask(count + " partitions in all", ApiKeys.CREATE_PARTITIONS, growth(more("grown", count)));
        }
        wire.ask("partitions for nothing", ApiKeys.CREATE_PARTITIONS, growth(more("nowhere", 3)));
        wire.ask("partitions twice", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 8), more("grown", 9)));
        wire.ask("partitions, assigned", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 7, "1")));
        wire.ask("partitions, too few assigned", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 9, "1")));
        wire.ask("partitions, too many assigned", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 8, "1", "1")));
        wire.ask("partitions, assigned to nobody", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 8, "")));
        wire.ask("partitions, assigned to one who is not there", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 8, "9")));
        wire.ask("partitions, assigned twice to one", ApiKeys.CREATE_PARTITIONS, growth(more("grown", 8, "1,1")));
        settle();
        wire.ask("what has grown", ApiKeys.METADATA, about("grown"));
    }

    private static DeleteTopicsRequestData end(String name, Uuid id) {
        return new DeleteTopicsRequestData().setTimeoutMs(30_000)
            .setTopics(new ArrayList<>(List.of(new DeleteTopicState().setName(name).setTopicId(id))));
    }

    private void deletions() throws Exception {
        for (short version = 1; version <= 6; version++) {
            make(topic("dead-" + version, 1, 1));
        }
        wire.all("delete", ApiKeys.DELETE_TOPICS, v -> v < 6
            ? new DeleteTopicsRequestData().setTimeoutMs(30_000).setTopicNames(List.of("dead-" + v)) : end("dead-6", Uuid.ZERO_UUID));
        settle();
        wire.all("delete again", ApiKeys.DELETE_TOPICS, v -> v < 6
            ? new DeleteTopicsRequestData().setTimeoutMs(30_000).setTopicNames(List.of("dead-" + v)) : end("dead-6", Uuid.ZERO_UUID));
        wire.ask("delete nothing", ApiKeys.DELETE_TOPICS, new DeleteTopicsRequestData().setTimeoutMs(30_000));
        wire.ask("delete a bad name", ApiKeys.DELETE_TOPICS, end("a b", Uuid.ZERO_UUID));
        wire.ask("delete an empty name", ApiKeys.DELETE_TOPICS, end("", Uuid.ZERO_UUID));
        wire.ask("delete by no name and no id", ApiKeys.DELETE_TOPICS, end(null, Uuid.ZERO_UUID));
        wire.ask("delete by name and id", ApiKeys.DELETE_TOPICS, end("grown", ids.get("grown")));
        wire.ask("delete by an id that nobody has", ApiKeys.DELETE_TOPICS, end(null, Uuid.fromString("EEEEEEEEEEEEEEEEEEEEEQ")));
        DeleteTopicsRequestData twice = end("grown", Uuid.ZERO_UUID);
        twice.topics().add(twice.topics().get(0).duplicate());
        wire.ask("delete twice", ApiKeys.DELETE_TOPICS, twice);
        DeleteTopicsRequestData both = end("grown", Uuid.ZERO_UUID);
        both.topics().add(new DeleteTopicState().setName(null).setTopicId(ids.get("grown")));
        wire.ask("delete by name, and again by id", ApiKeys.DELETE_TOPICS, both);
        wire.ask("delete the cluster's own", ApiKeys.DELETE_TOPICS, end("__cluster_metadata", Uuid.ZERO_UUID));
        wire.ask("delete by id", ApiKeys.DELETE_TOPICS, end(null, ids.get("u")));
        settle();
        wire.ask("fetch what was deleted", ApiKeys.FETCH, fetch(18, "u", 0, 0));
        wire.ask("fetch what was deleted, by name", ApiKeys.FETCH, 12, fetch(12, "u", 0, 0));
        wire.ask("produce to what was deleted", ApiKeys.PRODUCE, produce(13, "u", 0, batch("x")));
        wire.ask("offset of what was deleted", ApiKeys.LIST_OFFSETS, list("u", 0, -1, -1));
        wire.ask("metadata of what was deleted", ApiKeys.METADATA, byId(ids.get("u")));
    }
}
