package com.github.flinktail.listener.core;

import java.net.MalformedURLException;
import java.net.URL;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;

/**
 * How events travel: the {@code flinktail.} options of Flink's configuration that a {@link Sender}
 * needs. Equal options share a sender.
 */
final class Options {
    static final ConfigOption<Boolean> ENABLED =
            ConfigOptions.key("flinktail.enabled").booleanType().defaultValue(true);
    static final ConfigOption<String> URL = text("flinktail.url");
    static final ConfigOption<String> CLUSTER = text("flinktail.cluster");
    static final ConfigOption<String> JOB_KEY = text("flinktail.job.key");
    private static final ConfigOption<String> TOKEN_FILE = text("flinktail.token.file");
    private static final ConfigOption<Integer> BUFFER_EVENTS =
            ConfigOptions.key("flinktail.buffer.events").intType().defaultValue(10_000);
    private static final ConfigOption<MemorySize> BUFFER_BYTES =
            ConfigOptions.key("flinktail.buffer.bytes").memoryType().defaultValue(MemorySize.ofMebiBytes(16));
    private static final ConfigOption<Integer> BATCH_EVENTS =
            ConfigOptions.key("flinktail.batch.events").intType().defaultValue(500);
    private static final ConfigOption<Duration> BATCH_LINGER =
            ConfigOptions.key("flinktail.batch.linger").durationType().defaultValue(Duration.ofMillis(50));
    private static final ConfigOption<Duration> REQUEST_TIMEOUT =
            ConfigOptions.key("flinktail.request.timeout").durationType().defaultValue(Duration.ofSeconds(30));
    private static final ConfigOption<Duration> FLUSH_TIMEOUT =
            ConfigOptions.key("flinktail.flush.timeout").durationType().defaultValue(Duration.ofSeconds(5));

    private static final String PREFIX = "flinktail.";
    private static final Set<String> KNOWN = new HashSet<>(Arrays.asList(
            ENABLED.key(), URL.key(), CLUSTER.key(), JOB_KEY.key(), TOKEN_FILE.key(), BUFFER_EVENTS.key(),
            BUFFER_BYTES.key(), BATCH_EVENTS.key(), BATCH_LINGER.key(), REQUEST_TIMEOUT.key(), FLUSH_TIMEOUT.key()));

    final URL url;
    /** Null when no token is sent. */
    final String tokenFile;
    final int bufferEvents;
    final long bufferBytes;
    final int batchEvents;
    final long lingerMillis;
    final int timeoutMillis;
    final long flushMillis;

    private Options(Reader in) {
        url = in.url();
        tokenFile = in.conf.get(TOKEN_FILE);
        bufferEvents = (int) in.number(BUFFER_EVENTS, 1, 1_000_000);
        bufferBytes = in.bytes(BUFFER_BYTES, Event.MAX_BYTES, 1 << 30);
        batchEvents = (int) in.number(BATCH_EVENTS, 1, 10_000);
        lingerMillis = in.millis(BATCH_LINGER, 0, 60_000);
        timeoutMillis = (int) in.millis(REQUEST_TIMEOUT, 100, 600_000);
        flushMillis = in.millis(FLUSH_TIMEOUT, 0, 300_000);
    }

    /** Whether the user has switched the listeners off. @throws IllegalArgumentException if unreadable */
    static boolean enabled(Configuration conf) {
        return conf.get(ENABLED);
    }

    /** @throws IllegalArgumentException naming every option that is wrong, on one line, without secrets */
    static Options read(Configuration conf) {
        Reader in = new Reader(conf);
        Options options = new Options(in);
        if (!in.problems.isEmpty()) {
            throw new IllegalArgumentException(String.join("; ", in.problems));
        }
        return options;
    }

    /** The options that begin with {@code flinktail.} and mean nothing here. */
    static List<String> unknown(Configuration conf) {
        List<String> unknown = new ArrayList<>();
        for (String key : conf.keySet()) {
            if (key.startsWith(PREFIX) && !KNOWN.contains(key)) {
                unknown.add(key);
            }
        }
        return unknown;
    }

    private static ConfigOption<String> text(String key) {
        return ConfigOptions.key(key).stringType().noDefaultValue();
    }

    @Override
    public boolean equals(Object o) {
        if (!(o instanceof Options)) {
            return false;
        }
        Options that = (Options) o;
        // URL.equals would ask the name server.
        return url.toExternalForm().equals(that.url.toExternalForm())
                && Objects.equals(tokenFile, that.tokenFile)
                && bufferEvents == that.bufferEvents
                && bufferBytes == that.bufferBytes
                && batchEvents == that.batchEvents
                && lingerMillis == that.lingerMillis
                && timeoutMillis == that.timeoutMillis
                && flushMillis == that.flushMillis;
    }

    @Override
    public int hashCode() {
        return Objects.hash(url.toExternalForm(), tokenFile);
    }

    /** Collects every problem instead of stopping at the first. */
    private static final class Reader {
        final Configuration conf;
        final List<String> problems = new ArrayList<>();

        Reader(Configuration conf) {
            this.conf = conf;
        }

        URL url() {
            String text = conf.get(Options.URL);
            if (text == null || text.trim().isEmpty()) {
                problems.add("flinktail.url is not set");
                return null;
            }
            try {
                URL url = new URL(text.trim());
                if (!url.getProtocol().equals("http") && !url.getProtocol().equals("https")) {
                    problems.add("flinktail.url: only http and https are supported");
                } else if (url.getUserInfo() != null) {
                    problems.add("flinktail.url: a user and password are not supported, use flinktail.token.file");
                } else if (url.getHost().isEmpty()) {
                    problems.add("flinktail.url: no host");
                }
                boolean base = url.getPath().isEmpty() || url.getPath().equals("/");
                return base ? new URL(url, "/v1/events") : url;
            } catch (MalformedURLException e) {
                problems.add("flinktail.url: not a URL such as http://host:8686");
                return null;
            }
        }

        long number(ConfigOption<Integer> option, long min, long max) {
            try {
                return inside(option, conf.get(option), min, max);
            } catch (RuntimeException e) {
                return unreadable(option, "a whole number");
            }
        }

        long bytes(ConfigOption<MemorySize> option, long min, long max) {
            try {
                return inside(option, conf.get(option).getBytes(), min, max);
            } catch (RuntimeException e) {
                return unreadable(option, "a size such as 16 mb");
            }
        }

        long millis(ConfigOption<Duration> option, long min, long max) {
            try {
                return inside(option, conf.get(option).toMillis(), min, max);
            } catch (RuntimeException e) {
                return unreadable(option, "a duration such as 5 s");
            }
        }

        private long inside(ConfigOption<?> option, long value, long min, long max) {
            if (value < min || value > max) {
                problems.add(option.key() + ": " + value + " is not between " + min + " and " + max);
            }
            return value;
        }

        private long unreadable(ConfigOption<?> option, String wanted) {
            problems.add(option.key() + ": not " + wanted);
            return 0;
        }
    }
}
