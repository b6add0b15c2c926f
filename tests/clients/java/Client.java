import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client, told on its standard input what to do; the words are in `tests/clients/matrix`. */
public final class Client {
    private static final HexFormat HEX = HexFormat.of();
    private static final Duration TURN = Duration.ofMillis(200);

    private final String address;

    private Client(String address) {
        this.address = address;
    }

    public static void main(String[] args) throws Exception {
        Client client = new Client(args[0]);
        BufferedReader jobs = new BufferedReader(new InputStreamReader(System.in));
        for (String job; (job = jobs.readLine()) != null; ) {
            try {
                client.run(job.split(" "));
            } catch (Exception failed) {
                System.err.println("at: " + job);
                throw failed;
            }
        }
    }

    private void run(String[] job) throws Exception {
        switch (job[0]) {
            case "create" -> create(job[1], Integer.parseInt(job[2]), 1);
            case "write" -> write(job[1], job[2], job[3].equals("idempotent"), Path.of(job[4]));
            case "read" -> read(job[1], job[2], Path.of(job[3]));
            case "tail" -> tail(job[1], Path.of(job[2]));
            case "offsets" -> offsets(job[1], Path.of(job[2]));
            case "administer" -> administer(job[1], Path.of(job[2]));
            case "refusals" -> refusals(job[1], Path.of(job[2]));
            default -> throw new IllegalArgumentException(job[0]);
        }
    }

    private Map<String, Object> config(Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(more);
        config.put("bootstrap.servers", address);
        return config;
    }

    private KafkaProducer<byte[], byte[]> producer(String codec, boolean idempotent) {
        return new KafkaProducer<>(
            config(Map.of("acks", "all", "enable.idempotence", idempotent, "compression.type", codec, "linger.ms", 20,
                "max.request.size", 4_000_000)),
            new ByteArraySerializer(), new ByteArraySerializer());
    }

    private Consumer<byte[], byte[]> consumer() {
        return new KafkaConsumer<>(
            config(Map.of("auto.offset.reset", "none", "allow.auto.create.topics", false, "fetch.max.wait.ms", 100)),
            new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void create(String topic, int partitions, int factor) throws Exception {
        try (Admin admin = Admin.create(config(Map.of()))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) factor))).all().get();
        }
    }

    private void write(String topic, String codec, boolean idempotent, Path file) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<String[]> lines = Files.readAllLines(file).stream().map(line -> line.split("\t", -1)).toList();
        try (KafkaProducer<byte[], byte[]> producer = producer(codec, idempotent)) {
            for (String[] line : lines) {
                int partition = Integer.parseInt(line[0]);
                sent.add(producer.send(new ProducerRecord<>(
                    topic, partition, Long.parseLong(line[2]), bytes(line[3]), bytes(line[4]), headers(line[5]))));
            }
        }
        for (int n = 0; n < lines.size(); n++) {
            RecordMetadata at = sent.get(n).get();
            String found = at.partition() + " " + at.offset() + " " + at.timestamp();
            String wanted = lines.get(n)[0] + " " + lines.get(n)[1] + " " + lines.get(n)[2];
            if (!found.equals(wanted)) {
                throw new IllegalStateException("acknowledged as " + found + ", expected " + wanted);
            }
        }
    }

    private static List<TopicPartition> partitions(Consumer<?, ?> consumer, String topic) {
        return consumer.partitionsFor(topic).stream()
            .map(p -> new TopicPartition(topic, p.partition()))
            .sorted(Comparator.comparingInt(TopicPartition::partition))
            .toList();
    }

    private void read(String topic, String from, Path out) throws Exception {
        try (Consumer<byte[], byte[]> consumer = consumer(); PrintStream to = printer(out)) {
            List<TopicPartition> all = partitions(consumer, topic);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            consumer.assign(all);
            seek(consumer, all, ends, from);
            while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(TURN)) {
                    to.println(line(record));
                }
            }
        }
    }

    private static void seek(
        Consumer<?, ?> consumer, List<TopicPartition> all, Map<TopicPartition, Long> ends, String from) {
        String[] where = from.split(":");
        switch (where[0]) {
            case "beginning" -> consumer.seekToBeginning(all);
            case "offset" -> all.forEach(p -> consumer.seek(p, Long.parseLong(where[1])));
            case "time" -> {
                long time = Long.parseLong(where[1]);
                var found = consumer.offsetsForTimes(all.stream().collect(Collectors.toMap(p -> p, p -> time)));
                found.forEach((p, at) -> consumer.seek(p, at == null ? ends.get(p) : at.offset()));
            }
            default -> throw new IllegalArgumentException(from);
        }
    }

    /** From the end on: one record, written when the consumer is there. */
    private void tail(String topic, Path out) throws Exception {
        try (Consumer<byte[], byte[]> consumer = consumer(); PrintStream to = printer(out);
            KafkaProducer<byte[], byte[]> producer = producer("none", true)) {
            List<TopicPartition> all = partitions(consumer, topic);
            consumer.assign(all);
            consumer.seekToEnd(all);
            all.forEach(consumer::position);
            producer.send(new ProducerRecord<>(topic, 1, 5L, null, "at the end".getBytes(StandardCharsets.UTF_8))).get();
            for (boolean seen = false; !seen; ) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(TURN)) {
                    to.println(line(record));
                    seen = true;
                }
            }
        }
    }

    private void offsets(String topic, Path out) throws Exception {
        try (Consumer<byte[], byte[]> consumer = consumer(); PrintStream to = printer(out)) {
            List<TopicPartition> all = partitions(consumer, topic);
            Map<TopicPartition, Long> begin = consumer.beginningOffsets(all);
            Map<TopicPartition, Long> end = new TreeMap<>(Comparator.comparingInt(TopicPartition::partition));
            end.putAll(consumer.endOffsets(all));
            end.forEach((p, at) -> to.println(p.partition() + "\t" + begin.get(p) + "\t" + at));
        }
    }

    /** What an administrator does to a topic. */
    private void administer(String topic, Path out) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        TopicPartition first = new TopicPartition(topic, 0);
        try (Admin admin = Admin.create(config(Map.of())); PrintStream to = printer(out)) {
            to.println("default " + retention(admin, resource).value());
            alter(admin, resource, "1000000000000", AlterConfigOp.OpType.SET);
            ConfigEntry altered = retention(admin, resource);
            boolean topics = altered.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG;
            to.println("altered " + altered.value() + " " + (topics ? 1 : altered.source()));
            alter(admin, resource, null, AlterConfigOp.OpType.DELETE);
            to.println("reset " + retention(admin, resource).value());
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            to.println("partitions " + admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(60))).all().get();
            to.println("time" + listed(admin, topic, OffsetSpec.forTimestamp(1_700_000_000_745L)));
            to.println("first" + listed(admin, topic, OffsetSpec.earliest()));
            to.println("end" + listed(admin, topic, OffsetSpec.latest()));
            to.println("cluster " + admin.describeCluster().nodes().get().size());
            List<Long> sizes = new ArrayList<>();
            for (LogDirDescription dir : admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).values()) {
                dir.replicaInfos().forEach((p, info) -> { if (p.topic().equals(topic)) { sizes.add(info.size()); } });
            }
            to.println("log dirs " + sizes.stream().filter(size -> size > 0).count() + " of " + sizes.size());
            admin.deleteTopics(List.of(topic)).all().get();
            to.println(admin.listTopics().names().get().contains(topic) ? "there" : "deleted");
        }
    }

    private static ConfigEntry retention(Admin admin, ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms");
    }

    private static void alter(Admin admin, ConfigResource resource, String value, AlterConfigOp.OpType type) throws Exception {
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry("retention.ms", value), type);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
    }

    private static String listed(Admin admin, String topic, OffsetSpec spec) throws Exception {
        StringBuilder text = new StringBuilder();
        for (int partition = 0; partition < 3; partition++) {
            TopicPartition asked = new TopicPartition(topic, partition);
            text.append(' ').append(admin.listOffsets(Map.of(asked, spec)).partitionResult(asked).get().offset());
        }
        return text.toString();
    }

    private void refusals(String topic, Path out) throws Exception {
        try (PrintStream to = printer(out)) {
            refused(to, "exists", () -> { create(topic, 3, 1); return null; });
            refused(to, "name", () -> { create("no/such/name", 1, 1); return null; });
            refused(to, "factor", () -> { create("copies", 1, 3); return null; });
            refused(to, "partitions", () -> { create("nothing", 0, 1); return null; });
            refused(to, "unknown", () -> {
                try (Admin admin = Admin.create(config(Map.of()))) {
                    return admin.describeTopics(List.of("nowhere-java")).allTopicNames().get();
                }
            });
            refused(to, "large", () -> {
                try (KafkaProducer<byte[], byte[]> producer = producer("none", true)) {
                    return producer.send(new ProducerRecord<>(topic, 0, null, new byte[1_500_000])).get();
                }
            });
            refused(to, "past the end", () -> {
                try (Consumer<byte[], byte[]> consumer = consumer()) {
                    TopicPartition first = new TopicPartition(topic, 0);
                    consumer.assign(List.of(first));
                    consumer.seek(first, 1_000_000);
                    for (int n = 0; n < 50; n++) {
                        consumer.poll(TURN);
                    }
                    return null;
                }
            });
        }
    }

    private static void refused(PrintStream to, String what, Callable<?> asked) throws Exception {
        String answer = "nothing";
        try {
            asked.call();
        } catch (ExecutionException wrapped) {
            answer = wrapped.getCause().getClass().getSimpleName();
        } catch (Exception plain) {
            answer = plain.getClass().getSimpleName();
        }
        to.println(what + ": " + answer);
    }

    private static PrintStream printer(Path out) throws IOException {
        return new PrintStream(new java.io.BufferedOutputStream(Files.newOutputStream(out)), false, "UTF-8");
    }

    private static byte[] bytes(String field) {
        return field.equals("-") ? null : HEX.parseHex(field.substring(1));
    }

    private static String field(byte[] bytes) {
        return bytes == null ? "-" : "=" + HEX.formatHex(bytes);
    }

    private static List<Header> headers(String field) {
        List<Header> headers = new ArrayList<>();
        for (String pair : field.isEmpty() ? new String[0] : field.split(",")) {
            int end = pair.endsWith("-") ? pair.length() - 1 : pair.indexOf('=');
            String key = new String(HEX.parseHex(pair.substring(0, end)), StandardCharsets.UTF_8);
            headers.add(new RecordHeader(key, bytes(pair.substring(end))));
        }
        return headers;
    }

    private static String line(ConsumerRecord<byte[], byte[]> record) {
        List<String> pairs = new ArrayList<>();
        for (Header header : record.headers()) {
            pairs.add(HEX.formatHex(header.key().getBytes(StandardCharsets.UTF_8)) + field(header.value()));
        }
        return String.join("\t", Integer.toString(record.partition()), Long.toString(record.offset()),
            Long.toString(record.timestamp()), field(record.key()), field(record.value()), String.join(",", pairs));
    }
}
