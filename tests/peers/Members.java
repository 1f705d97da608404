// Members of consumer groups by Apache Kafka's own client, many in one process: what its assignors decide is what Kafka gives.
//
//   java -cp 'DIR/libs/*' tests/peers/Members.java HOST:PORT GROUP,TOPIC,INSTANCE,ASSIGNOR …
//
// ASSIGNOR is `range`, `roundrobin`, `sticky` or `cooperative-sticky`. Members stay until stdin ends; then they go without leaving.
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Members {
    private static final Map<String, String> ASSIGNORS = Map.of(
        "range", "RangeAssignor", "roundrobin", "RoundRobinAssignor",
        "sticky", "StickyAssignor", "cooperative-sticky", "CooperativeStickyAssignor");

    public static void main(String[] args) throws Exception {
        for (int i = 1; i < args.length; i++) {
            String[] member = args[i].split(",");
            Properties settings = new Properties();
            settings.put("bootstrap.servers", args[0]);
            settings.put("group.id", member[0]);
            settings.put("group.instance.id", member[2]);
            settings.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + ASSIGNORS.get(member[3]));
            settings.put("enable.auto.commit", "false");
            settings.put("heartbeat.interval.ms", "500");
            settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
            settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
            Thread polling = new Thread(() -> poll(settings, member[1]), member[2]);
            polling.setDaemon(true);
            polling.start();
        }
        while (System.in.read() >= 0) { }
        System.exit(0);
    }

    private static void poll(Properties settings, String topic) {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            consumer.subscribe(List.of(topic));
            while (true) {
                consumer.poll(Duration.ofMillis(200));
            }
        }
    }
}
