import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.PrintStream;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.message.ApiVersionsRequestData;
import org.apache.kafka.common.message.ApiVersionsResponseData;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;

/** Requests as Kafka's own classes have them, sent as they are; answers as JSON, with nothing done to either. */
final class Wire {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private static final int PATIENCE_MS = 5_000;

    private final String host;
    private final int port;
    private final PrintStream out;
    private final Map<Short, ApiVersionsResponseData.ApiVersion> served = new TreeMap<>();
    private Socket socket;
    private int correlation;

    Wire(String address, PrintStream out) throws Exception {
        int colon = address.lastIndexOf(':');
        this.host = address.substring(0, colon);
        this.port = Integer.parseInt(address.substring(colon + 1));
        this.out = out;
        ApiVersionsRequestData request = new ApiVersionsRequestData().setClientSoftwareName("x").setClientSoftwareVersion("1");
        ApiVersionsResponseData answer = (ApiVersionsResponseData) answer(ApiKeys.API_VERSIONS, (short) 3, request);
        answer.apiKeys().forEach(api -> served.put(api.apiKey(), api));
    }

    /** The versions that the broker serves and this client knows: first and last. */
    short[] versions(ApiKeys api) {
        ApiVersionsResponseData.ApiVersion of = served.get(api.id);
        if (of == null) {
            return new short[] {1, 0};
        }
        return new short[] {(short) Math.max(of.minVersion(), api.oldestVersion()),
            (short) Math.min(of.maxVersion(), api.latestVersion())};
    }

    /** Something asked in one version. */
    interface Asked {
        ApiMessage in(short version);
    }

    /** In every version; a version that cannot say it is left out. */
    void all(String what, ApiKeys api, Asked asked) throws Exception {
        short[] versions = versions(api);
        for (short version = versions[0]; version <= versions[1]; version++) {
            if (api != ApiKeys.API_VERSIONS || version > 0) {
                ask(what, api, version, asked.in(version));
            }
        }
    }

    void all(String what, ApiKeys api, ApiMessage request) throws Exception {
        all(what, api, version -> request);
    }

    /** In the newest version. */
    void ask(String what, ApiKeys api, ApiMessage request) throws Exception {
        ask(what, api, versions(api)[1], request);
    }

    void ask(String what, ApiKeys api, int version, ApiMessage request) throws Exception {
        ObjectNode line = JSON.objectNode();
        line.put("what", what).put("api", api.name).put("version", version);
        try {
            ApiMessage answer = answer(api, (short) version, request);
            line.set("answer", json(answer, (short) version));
        } catch (EOFException | SocketException closed) {
            socket = null;
            line.put("answer", "closed");
        } catch (SocketTimeoutException silent) {
            reconnect();
            line.put("answer", "none");
        } catch (UnsupportedVersionException | NullPointerException unsaid) {
            // A field that the version has not, or a null that it does not know.
            return;
        }
        out.println(line);
    }

    /** Sends a request and reads its answer. */
    ApiMessage answer(ApiKeys api, short version, ApiMessage request) throws Exception {
        send(api, version, request);
        return receive(api, version);
    }

    /** Sends one that has no answer, and an ApiVersions after it: that the connection lives is the answer. */
    void askSilently(String what, ApiKeys api, int version, ApiMessage request) throws Exception {
        ObjectNode line = JSON.objectNode();
        line.put("what", what).put("api", api.name).put("version", version);
        try {
            send(api, (short) version, request);
            answer(ApiKeys.API_VERSIONS, (short) 0, new ApiVersionsRequestData());
            line.put("answer", "none");
        } catch (EOFException | SocketException closed) {
            socket = null;
            line.put("answer", "closed");
        }
        out.println(line);
    }

    /** A new connection for what follows. */
    private void reconnect() throws IOException {
        if (socket != null) {
            socket.close();
        }
        socket = null;
    }

    private void send(ApiKeys api, short version, ApiMessage request) throws IOException {
        short headerVersion = api.requestHeaderVersion(version);
        RequestHeaderData header = new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version)
            .setCorrelationId(++correlation).setClientId("script");
        ByteBuffer head = MessageUtil.toByteBufferAccessor(header, headerVersion).buffer();
        ByteBuffer body = MessageUtil.toByteBufferAccessor(request, version).buffer();
        ByteBuffer frame = ByteBuffer.allocate(4 + head.remaining() + body.remaining());
        frame.putInt(head.remaining() + body.remaining()).put(head).put(body);
        if (socket == null) {
            socket = new Socket(host, port);
            socket.setSoTimeout(PATIENCE_MS);
            socket.setTcpNoDelay(true);
        }
        socket.getOutputStream().write(frame.array());
    }

    private ApiMessage receive(ApiKeys api, short version) throws IOException {
        DataInputStream in = new DataInputStream(socket.getInputStream());
        byte[] frame = new byte[in.readInt()];
        in.readFully(frame);
        ByteBuffer buffer = ByteBuffer.wrap(frame);
        ByteBufferAccessor accessor = new ByteBufferAccessor(buffer);
        // An ApiVersions of a version to come is answered in version 0.
        ResponseHeaderData header = new ResponseHeaderData(accessor, api.responseHeaderVersion(version));
        if (header.correlationId() != correlation) {
            throw new IOException("answer " + header.correlationId() + " to request " + correlation);
        }
        ApiMessage answer = api.messageType.newResponse();
        answer.read(accessor, version);
        if (buffer.hasRemaining()) {
            throw new IOException(buffer.remaining() + " bytes after an answer of " + api + " " + version);
        }
        return answer;
    }

    private static JsonNode json(ApiMessage answer, short version) throws Exception {
        Class<?> type = answer.getClass();
        Class<?> converter = Class.forName(type.getName() + "JsonConverter");
        JsonNode node = (JsonNode) converter.getMethod("write", type, short.class, boolean.class).invoke(null, answer, version, false);
        if (answer instanceof FetchResponseData fetched) {
            records(fetched, (ObjectNode) node);
        }
        return node;
    }

    /** In the place of their size: every batch and every record. */
    private static void records(FetchResponseData fetched, ObjectNode node) {
        for (int t = 0; t < fetched.responses().size(); t++) {
            FetchResponseData.FetchableTopicResponse topic = fetched.responses().get(t);
            for (int p = 0; p < topic.partitions().size(); p++) {
                ObjectNode partition = (ObjectNode) node.path("responses").path(t).path("partitions").path(p);
                ArrayNode batches = JSON.arrayNode();
                if (topic.partitions().get(p).records() instanceof MemoryRecords records) {
                    for (MutableRecordBatch batch : records.batches()) {
                        batches.add(batch(batch));
                    }
                }
                partition.set("batches", batches);
            }
        }
    }

    private static JsonNode batch(MutableRecordBatch batch) {
        ObjectNode node = JSON.objectNode();
        node.put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset()).put("magic", batch.magic())
            .put("bytes", batch.sizeInBytes()).put("leaderEpoch", batch.partitionLeaderEpoch())
            .put("producerId", batch.producerId()).put("producerEpoch", batch.producerEpoch())
            .put("baseSequence", batch.baseSequence()).put("maxTimestamp", batch.maxTimestamp())
            .put("timestampType", batch.timestampType().name).put("compression", batch.compressionType().name)
            .put("transactional", batch.isTransactional()).put("control", batch.isControlBatch());
        ArrayNode records = node.putArray("records");
        try {
            for (Record record : batch) {
                records.add(record.offset() + " at " + record.timestamp() + ": " + text(record.key()) + " = " + text(record.value()));
            }
        } catch (KafkaException unreadable) {
            records.add("unreadable");
        }
        return node;
    }

    private static String text(ByteBuffer bytes) {
        return bytes == null ? "null" : "'" + StandardCharsets.UTF_8.decode(bytes.duplicate()) + "'";
    }
}
