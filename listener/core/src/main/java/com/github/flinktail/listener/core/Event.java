package com.github.flinktail.listener.core;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.Arrays;

/** The JSON text of one event, begun with the fields that every event has. */
final class Event {
    /** The most that one event takes, in bytes. */
    static final int MAX_BYTES = 64 * 1024;

    /** Kept free for the end of the object and for {@link #withDropped}. */
    private static final int RESERVED = 64;

    private static final int SCHEMA_VERSION = 1;
    // Always three digits: Instant.toString leaves zeros out.
    private static final DateTimeFormatter TIME = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();

    private Event() {}

    /** @throws Json.Full if not even the fields that every event has fit, which their own limits prevent */
    static byte[] write(String id, String kind, String source, Origin origin, Json.Part body) {
        Json json = new Json(MAX_BYTES - RESERVED);
        json.beginObject();
        json.key("schema_version").number(SCHEMA_VERSION);
        json.field("event_id", id);
        json.field("event_time", TIME.format(Instant.ofEpochMilli(System.currentTimeMillis())));
        json.field("kind", kind);
        json.field("source", source);
        origin.write(json);
        body.write(json);
        byte[] open = json.toBytes();
        byte[] closed = Arrays.copyOf(open, open.length + 1);
        closed[open.length] = '}';
        return closed;
    }

    /** The same event, telling how many events before it were dropped. */
    static byte[] withDropped(byte[] event, long dropped) {
        byte[] field = (",\"source_dropped\":" + dropped + "}").getBytes(StandardCharsets.US_ASCII);
        byte[] more = Arrays.copyOf(event, event.length - 1 + field.length);
        System.arraycopy(field, 0, more, event.length - 1, field.length);
        return more;
    }
}
